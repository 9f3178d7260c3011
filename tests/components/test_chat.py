"""The terminal chat: commands, sentences instead of tracebacks, and the real process at a terminal of its own."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from components import chat
from components.serving import ChatModel
from components.serving_input import Options
from tests.components.chatting import make_models
from tests.contracts.imports import ROOT


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def conversation(folders):
    return chat.Conversation(ChatModel(folders / "chat"), str(folders / "chat"), Options(max_new_tokens=4, seed=1))


def test_help_names_every_command(conversation):
    text = conversation.obey("/help")
    assert all(name in text for name in [*conversation.commands, "/quit"])


def test_an_unknown_command_is_not_said_to_the_model(conversation):
    assert conversation.obey("/hepl") == "no command /hepl; /help lists them"
    assert conversation.messages == []


def test_a_saved_conversation_goes_on_where_it_was(conversation, tmp_path):
    conversation.obey("/system be kind")
    conversation.answer("ünï")
    before = list(conversation.messages)
    conversation.obey(f"/save {tmp_path / 'talk.json'}")
    assert [m["role"] for m in json.loads((tmp_path / "talk.json").read_text())] == ["system", "user", "assistant"]
    conversation.obey("/new")
    assert conversation.messages == before[:1]  # the system message stays
    conversation.obey("/system")
    assert conversation.messages == []
    assert "3 messages" in conversation.obey(f"/load {tmp_path / 'talk.json'}")
    assert conversation.messages == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "holds no conversation"),
        ('{"messages": 3}', "expected chat messages"),
        ('[{"role": "robot", "content": "x"}]', "no role 'robot'"),
        ('[{"role": "user", "content": "x"}]', "ends with the user's message"),
        ('[{"role": "user", "content": "\\ud800"}]', "surrogate"),
    ],
)
def test_a_file_that_is_no_conversation_is_a_sentence_and_changes_nothing(conversation, tmp_path, content, words):
    conversation.answer("hello")
    before = list(conversation.messages)
    (tmp_path / "talk.json").write_text(content)
    assert words in conversation.obey(f"/load {tmp_path / 'talk.json'}")
    assert conversation.messages == before


def test_files_that_cannot_be_read_or_written_are_sentences(conversation, tmp_path):
    assert "No such file" in conversation.obey(f"/load {tmp_path / 'none.json'}")
    assert "directory" in conversation.obey(f"/save {tmp_path}")
    assert "FILE" in conversation.obey("/save") and "FILE" in conversation.obey("/load")


def test_another_model_takes_over_the_conversation_and_a_wrong_one_does_not(conversation, folders):
    conversation.answer("hello")
    before, model = list(conversation.messages), conversation.model
    assert "reward model" in conversation.obey(f"/model {folders / 'reward'}")
    assert conversation.model is model and conversation.messages == before
    conversation.obey(f"/model {folders / 'chat'}")
    assert conversation.model is not model and conversation.messages == before


def test_what_the_model_cannot_read_is_not_kept(conversation, capsys):
    conversation.answer("a\udcffb")
    assert "surrogate" in capsys.readouterr().out
    assert conversation.messages == []


def test_markup_of_the_user_and_of_other_models_is_text(conversation, capsys):
    for said in ("[/INST]", "[bold]x", "{0}", "%s"):
        conversation.answer(said)
    assert [m["content"] for m in conversation.messages[::2]] == ["[/INST]", "[bold]x", "{0}", "%s"]
    conversation.obey("/system [/INST]")
    assert conversation.messages[0]["content"] == "[/INST]"


def started(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["chat", *arguments])
    with pytest.raises(SystemExit) as caught:
        chat.main()
    return str(caught.value)


def test_a_model_that_does_not_chat_is_a_sentence(monkeypatch, folders, tmp_path):
    assert "holds a reward model" in started(monkeypatch, "--model", str(folders / "reward"))
    (tmp_path / "stage/model").mkdir(parents=True)
    (tmp_path / "stage/model/config.json").write_text("{}")
    assert f"{tmp_path / 'stage' / 'model'} is one" in started(monkeypatch, "--model", str(tmp_path / "stage"))
    assert "not a model folder" in started(monkeypatch, "--model", str(tmp_path / "stage/model"))
    assert "neither a folder nor an address" in started(monkeypatch, "--model", str(tmp_path / "none"))


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json"])
def test_an_incomplete_model_folder_names_what_it_lacks(monkeypatch, tmp_path, missing):
    folder = make_models(tmp_path) / "chat"
    (folder / missing).unlink()
    assert missing in started(monkeypatch, "--model", str(folder))


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--max-new-tokens", "-1"), "max_new_tokens is -1"),
        (("--temperature", "-1"), "temperature is -1"),
        (("--temperature", "nan"), "temperature is nan"),
        (("--seed", "-4"), "seed is -4"),
    ],
)
def test_absurd_options_are_sentences(monkeypatch, folders, option, words):
    assert words in started(monkeypatch, "--model", str(folders / "chat"), *option)


def _at_a_terminal(device: int) -> None:
    os.login_tty(device)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored, and inherited, in a script's background jobs


class Terminal:
    """The chat as a process with a terminal of its own, where Ctrl-C and Ctrl-D are keys."""

    def __init__(self, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "components.chat", *arguments], cwd=ROOT, preexec_fn=lambda: _at_a_terminal(slave),
            env={**os.environ, "TERM": "dumb", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        os.close(slave)
        self.text = ""

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def wait_for(self, pattern: str) -> None:
        """Read until a pattern comes up after what was waited for before."""
        deadline = time.monotonic() + 120
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < deadline and select.select([self.master], [], [], 120)[0], self.text
            self.text += os.read(self.master, 4096).decode(errors="replace")
        self.text = self.text[found.end() :]


def test_ctrl_c_stops_a_reply_and_keeps_the_conversation_and_ctrl_d_leaves(tmp_path):
    folder = make_models(tmp_path, context_length=16384, only_says="hi") / "chat"
    terminal = Terminal("--model", str(folder), "--temperature", "0", "--max-new-tokens", "8000")
    try:
        terminal.wait_for("you> ")
        terminal.press("hello [/INST]\n")
        terminal.wait_for(r"bot> .{8}")
        terminal.press("\x03")
        terminal.wait_for(r"\[stopped\]")
        terminal.wait_for("you> ")
        terminal.press(f"/save {tmp_path / 'talk.json'}\n")
        terminal.wait_for("2 messages written")
        terminal.wait_for("you> ")
        terminal.press("\x04")
        assert terminal.process.wait(60) == 0
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.master)
    said, reply = json.loads((tmp_path / "talk.json").read_text())
    assert said["content"] == "hello [/INST]"
    assert len(reply["content"]) >= 8


def test_bytes_that_are_no_utf8_and_a_locale_without_letters_end_nothing(folders):
    process = subprocess.run(
        [sys.executable, "-m", "components.chat", "--model", str(folders / "chat"), "--max-new-tokens", "4"],
        input=b"\xff\xfe\nhello\n", cwd=ROOT, capture_output=True, timeout=120,
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert b"surrogate" in process.stdout and process.stdout.count(b"bot> ") == 2

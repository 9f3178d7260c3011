"""The converter's command line: what is missing or in the way is a sentence, and nothing is lost."""

import json
import sys

import pytest

from components import convert
from tests.components.chatting import make_models


def run(monkeypatch, *arguments):
    """The command with these arguments: what it exits with, or None where it succeeds."""
    monkeypatch.setattr(sys, "argv", ["convert", *map(str, arguments)])
    try:
        convert.main()
    except SystemExit as end:
        return str(end.code)
    return None


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return make_models(tmp_path_factory.mktemp("models"))


def test_a_folder_that_is_not_there_or_no_model_is_named(monkeypatch, tmp_path, folders):
    for direction in ("export", "import"):
        assert "none is not a" in run(monkeypatch, direction, tmp_path / "none", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    assert "empty is not a model folder" in run(monkeypatch, "export", tmp_path / "empty", tmp_path / "out")
    assert "empty has no tokenizer.json" in run(monkeypatch, "import", tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("[]", "holds a list"),
        ("{", "config.json cannot be read"),
        ('{"model_type": "gpt2"}', "no whole number for vocab_size"),
    ],
)
def test_a_damaged_gpt2_is_a_sentence(monkeypatch, tmp_path, folders, config, words):
    assert run(monkeypatch, "export", folders / "chat", tmp_path / "gpt2") is None
    (tmp_path / "gpt2/config.json").write_text(config)
    assert words in run(monkeypatch, "import", tmp_path / "gpt2", tmp_path / "out")


def test_a_truncated_weights_file_is_a_sentence(monkeypatch, tmp_path, folders):
    assert run(monkeypatch, "export", folders / "chat", tmp_path / "gpt2") is None
    weights = tmp_path / "gpt2/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    assert "model.safetensors cannot be read" in run(monkeypatch, "import", tmp_path / "gpt2", tmp_path / "out")


def test_what_lies_at_the_target_is_not_deleted(monkeypatch, tmp_path, folders):
    assert run(monkeypatch, "export", folders / "chat", tmp_path / "gpt2") is None
    assert run(monkeypatch, "export", folders / "chat", tmp_path / "gpt2") is None  # over another model
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    for direction, source in (("export", folders / "chat"), ("import", tmp_path / "gpt2")):
        assert "chapter.txt" in run(monkeypatch, direction, source, tmp_path / "thesis")
        assert "is a file" in run(monkeypatch, direction, source, tmp_path / "file")
    assert (tmp_path / "thesis/chapter.txt").read_text() == "x"
    assert run(monkeypatch, "import", tmp_path / "gpt2", tmp_path / "back") is None
    assert json.loads((tmp_path / "back/config.json").read_text())["kind"] == "gpt"

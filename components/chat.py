"""Talk to a registered model in the terminal: many turns, tokens as they are sampled.

    python -m components.chat                                   # the champion, or the candidate where there is none
    python -m components.chat --model models:/gpt-sft/3         # any registered version or alias
    python -m components.chat --model artifacts/ppo/model       # or a model folder

/help lists the commands. Ctrl-C stops a reply and keeps what was said of it; at the prompt it leaves, as Ctrl-D does.
"""

import argparse
import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from components import mlflow_store
from components.checkpoints import CheckpointError
from components.serving import ChatModel
from components.serving_input import Options, RequestError, check_messages, text_fault

DEFAULT = "models:/gpt-ppo@champion"
FALLBACK = "models:/gpt-ppo@candidate"
NOTHING_SAID = "..."
HELP = """/help             this list
/new              start over; the system message stays
/system [TEXT]    set the system message; without a text, remove it
/save FILE        write the conversation as JSON: a list of messages
/load FILE        go on with a saved conversation
/model ADDRESS    go on with another model: models:/gpt-sft/3, models:/gpt-sft@candidate or a model folder
/quit             leave (or Ctrl-D; Ctrl-C stops a reply)"""


class NoModel(ValueError):
    """There is no chat model at an address; the message says what can be done."""


def load(address: str | None) -> tuple[ChatModel, str]:
    """The model of an address, and the address; without one, the champion or else the candidate.

    Raises:
        NoModel: there is none, or one that does not chat.
    """
    for candidate in [address] if address is not None else [DEFAULT, FALLBACK]:
        folder = _folder(candidate)
        if folder is None:
            continue
        try:
            return ChatModel(folder), candidate
        except CheckpointError as error:
            raise NoModel(f"{candidate}: {error}") from None
    raise NoModel(
        f"no model at {DEFAULT if address is None else address}. `make run` trains and registers one; "
        "`make ui` shows the registered models under Models"
    )


def _folder(address: str) -> Path | None:
    """The local folder of an address; None where a registry has no such model."""
    if address.startswith(("models:/", "runs:/")):
        return mlflow_store.download_model(address)
    if not Path(address).is_dir():
        raise NoModel(f"{address!r} is neither a folder nor an address such as models:/gpt-ppo@candidate")
    return Path(address)


class Conversation:
    """What has been said to which model, and the commands that change that."""

    def __init__(self, model: ChatModel, address: str, options: Options) -> None:
        self.model, self.address, self.options = model, address, options
        self.messages: list[dict[str, str]] = []
        self.commands: dict[str, Callable[[str], str]] = {
            "/help": lambda _: HELP,
            "/new": self._start_over,
            "/system": self._set_system,
            "/save": self._save,
            "/load": self._load,
            "/model": self._change_model,
        }

    def obey(self, line: str) -> str:
        """Do what a line that begins with a slash asks for; what to tell the user."""
        name, _, rest = line.partition(" ")
        command = self.commands.get(name)
        if command is None:
            return f"no command {name}; /help lists them"
        try:
            return command(rest.strip())
        except (OSError, ValueError) as error:
            return str(error)

    def answer(self, said: str) -> None:
        """Stream the reply to what the user said. Interrupted, the reply is what was said of it so far."""
        pieces: list[str] = []
        print("bot> ", end="", flush=True)
        try:
            for piece in self.model.stream([*self.messages, {"role": "user", "content": said}], self.options):
                pieces.append(piece)
                print(piece, end="", flush=True)
        except KeyboardInterrupt:
            print(" [stopped]", end="")
        except ValueError as error:
            print(f"(no reply: {error})")
            return
        print(flush=True)
        reply = "".join(pieces).strip() or NOTHING_SAID
        self.messages += [{"role": "user", "content": said}, {"role": "assistant", "content": reply}]
        if self.options.seed is not None:
            self.options = replace(self.options, seed=(self.options.seed + 1) % 2**63)

    def _system(self) -> list[dict[str, str]]:
        return [message for message in self.messages[:1] if message["role"] == "system"]

    def _start_over(self, _: str) -> str:
        self.messages = self._system()
        return "a new conversation"

    def _set_system(self, text: str) -> str:
        fault = text_fault(text) if text else None
        if fault:
            raise RequestError(fault)
        new = [{"role": "system", "content": text}] if text else []
        self.messages = new + self.messages[len(self._system()) :]
        return "the system message is set" if text else "no system message"

    def _save(self, name: str) -> str:
        if not name:
            raise RequestError("to which file? /save FILE")
        Path(name).write_text(json.dumps(self.messages, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        return f"{len(self.messages)} messages written to {name}"

    def _load(self, name: str) -> str:
        if not name:
            raise RequestError("from which file? /load FILE")
        try:
            messages = json.loads(Path(name).read_text(encoding="utf-8"))
            loaded = check_messages(messages) if messages != [] else []
        except ValueError as error:
            raise RequestError(f"{name} holds no conversation: {error}") from None
        if loaded and loaded[-1]["role"] == "user":
            raise RequestError(f"{name} ends with the user's message: save a conversation after the reply")
        self.messages = loaded
        return "\n".join([*(f"{m['role']}> {m['content']}" for m in loaded), f"{len(loaded)} messages of {name}"])

    def _change_model(self, address: str) -> str:
        if not address:
            return self.address
        self.model, self.address = load(address)
        return self.address


def main() -> None:
    """The command line and the chat loop."""
    usual = Options()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help=f"registered model or model folder (default: {DEFAULT})")
    parser.add_argument("--temperature", type=float, default=usual.temperature, help="0: always the likeliest token")
    parser.add_argument("--top-k", type=int, default=usual.top_k, help="draw from the k likeliest tokens; 0: off")
    parser.add_argument("--top-p", type=float, default=usual.top_p, help="draw from the likeliest of this mass; 1: off")
    parser.add_argument("--max-new-tokens", type=int, default=usual.max_new_tokens)
    parser.add_argument("--seed", type=int, help="same seed and words, same replies (default: other ones each time)")
    arguments = parser.parse_args()
    _read_and_write_any_text()
    try:
        settings = {name: value for name, value in vars(arguments).items() if name != "model"}
        conversation = Conversation(*load(arguments.model), Options.of(settings))
    except ValueError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    print(f"{conversation.address}. /help lists the commands, /quit leaves.", flush=True)
    _talk(conversation)


def _talk(conversation: Conversation) -> None:
    while True:
        try:
            said = input("you> ").strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if said in {"/quit", "/exit"}:
            return
        try:
            if said.startswith("/"):
                print(conversation.obey(said), flush=True)
            elif said:
                conversation.answer(said)
        except KeyboardInterrupt:  # between the tokens of a reply, or while a model is fetched: only that is given up
            print(" [stopped]", flush=True)


def _read_and_write_any_text() -> None:
    """Take bytes that are not the terminal's encoding as what they are, a wrong text, and print any reply."""
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "replace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


if __name__ == "__main__":
    main()

"""How a conversation is written for a model: what stands before and after each message, and where a reply ends.

A model's folder holds its format as `chat.json`, so that what reads the model needs no list of formats. The known ones
are in `components/data/templates`.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

CHAT_FILE = "chat.json"
BREAK = " "  # goes into a marker that a message holds as text, where markers are text

Messages = Sequence[dict[str, str]]
Piece = tuple[bool, str]  # whether it is a marker, and its text


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class Frame:
    """What stands around a message."""

    before: str
    after: str = ""


class Turn(NamedTuple):
    """A message in its frame: what is written is `before + content + after`."""

    role: str
    before: str
    content: str
    after: str


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class ChatFormat:
    """A chat format.

    Attributes:
        frames: of the roles system, user and assistant.
        end: the marker in what stands after the assistant's message with which a reply ends.
        markers: the special tokens that the frames hold. A message is always text and never gives one.
        endoftext: the special token between documents.
        pad: the special token that fills rows; nothing learns it.
        begin: what a conversation opens with.
        default_system: the system message of a conversation without one; none if empty.
        written: markers that are ordinary text; in a message they are broken by a blank.
        lead: how the assistant's text begins; it is the assistant's to say.
        trims: whether blanks around a message are left out.
        joins_system: whether the first user's frame is left open by a system message (Llama 2).
    """

    frames: dict[str, Frame]
    end: str
    markers: tuple[str, ...]
    endoftext: str
    pad: str
    begin: str = ""
    default_system: str = ""
    written: tuple[str, ...] = ()
    lead: str = ""
    trims: bool = False
    joins_system: bool = False

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """What must be a token of its own, each once."""
        return tuple(dict.fromkeys((self.endoftext, self.pad, self.end, *self.markers)))

    @property
    def cue(self) -> str:
        """What stands where the assistant is to speak."""
        return self.frames["assistant"].before

    @property
    def bounded(self) -> bool:
        """Whether every message lies between markers, so that its tokens do not depend on its neighbours."""
        return all(frame.before.startswith(self.special_tokens) for frame in self.frames.values())

    @property
    def bare(self) -> bool:
        """Whether markers alone stand around messages, and no text."""
        around = [text for frame in self.frames.values() for text in (frame.before, frame.after)]
        return all(special for text in around for special, _ in split_at_markers(text, self.special_tokens))

    def opened(self, messages: Messages) -> list[dict[str, str]]:
        """A conversation with the default system message where it has none."""
        if self.default_system and (not messages or messages[0]["role"] != "system"):
            return [{"role": "system", "content": self.default_system}, *messages]
        return list(messages)

    def turns(self, messages: Messages, *, opening: bool = True) -> list[Turn]:
        """Messages in their frames; `opening`: they begin a conversation."""
        turns: list[Turn] = []
        former = ""
        for message in messages:
            role = message["role"]
            before = "" if self.joins_system and former == "system" else self.frames[role].before
            begin = self.begin if opening and not former else ""
            content = self.safe(message["content"])
            lead = self.lead if role == "assistant" else ""
            turns.append(Turn(role, begin + before, lead + content, self.frames[role].after))
            former = role
        return turns

    def safe(self, content: str) -> str:
        """A message's text as it is written: no marker that is text can be made of it."""
        content = content.strip() if self.trims else content
        for marker in self.written:
            content = content.replace(marker, marker[0] + BREAK + marker[1:])
        return content

    def pieces(self, turn: Turn) -> list[Piece]:
        """What is written of a message; its text is one piece, whatever it says."""
        before, after = (split_at_markers(text, self.special_tokens) for text in (turn.before, turn.after))
        return [*before, (False, turn.content), *after]

    def spoken(self, messages: Messages, *, cue: bool) -> list[Piece]:
        """A conversation up to where the assistant is to speak: after the cue, or on from what it has begun to say."""
        turns = self.turns(self.opened(messages))
        if cue:
            turns.append(Turn("assistant", self.cue, "", ""))
        elif turns:
            turns[-1] = turns[-1]._replace(after="")
        return [piece for turn in turns for piece in self.pieces(turn) if piece[1]]

    def write(self, messages: Messages, *, cue: bool = False) -> str:
        """A conversation as one text; with the cue where the assistant is to speak."""
        turns = "".join(turn.before + turn.content + turn.after for turn in self.turns(self.opened(messages)))
        return turns + (self.cue if cue else "")

    def jinja(self) -> str:
        """The format as `apply_chat_template` reads it. A marker in a message is broken there, special or not: a
        template cannot say that text is text.
        """
        content = "message['content']" + (" | trim" if self.trims else "")
        for marker in dict.fromkeys((*self.special_tokens, *self.written)):
            content += f" | replace({marker!r}, {marker[0] + BREAK + marker[1:]!r})"
        parts = [f"{{{{ {self.begin!r} }}}}"] if self.begin else []
        if self.default_system:
            system = self.frames["system"].before + self.default_system + self.frames["system"].after
            parts.append(f"{{% if not messages or messages[0]['role'] != 'system' %}}{{{{ {system!r} }}}}{{% endif %}}")
        parts.append("{% for message in messages %}")
        for number, (role, frame) in enumerate(self.frames.items()):
            before = repr(frame.before + (self.lead if role == "assistant" else ""))
            if self.joins_system and role != "system":
                before = f"('' if not loop.first and messages[loop.index0 - 1]['role'] == 'system' else {before})"
            parts.append(f"{{% {'el' if number else ''}if message['role'] == {role!r} %}}")
            parts.append(f"{{{{ {before} + ({content}) + {frame.after!r} }}}}")
        parts.append("{% endif %}{% endfor %}")
        parts.append(f"{{% if add_generation_prompt %}}{{{{ {self.cue!r} }}}}{{% endif %}}" if self.cue else "")
        return "".join(parts)

    def save(self, folder: Path) -> None:
        """Write `chat.json` into a folder."""
        text = json.dumps(asdict(self), ensure_ascii=False, indent=1, sort_keys=True)
        (folder / CHAT_FILE).write_text(text + "\n", encoding="utf-8")


def load_format(folder: Path) -> ChatFormat | None:
    """The format that a folder's `chat.json` describes; None where there is none.

    Raises:
        ValueError: the file describes no format.
    """
    path = folder / CHAT_FILE
    if not path.exists():
        return None
    try:
        return _ADAPTER.validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise ValueError(f"{path} describes no chat format: {error}") from error


def split_at_markers(text: str, markers: Sequence[str]) -> list[Piece]:
    """A text in pieces: whether each is a marker, and the piece."""
    pattern = "|".join(re.escape(marker) for marker in sorted(markers, key=len, reverse=True))
    pieces = re.split(f"({pattern})", text)
    return [(piece in markers, piece) for piece in pieces if piece]


_ADAPTER = TypeAdapter(ChatFormat)

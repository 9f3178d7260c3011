"""Conversations as token ids, with a mask over what the assistant says.

How they are written is a `ChatFormat`. Message text is always encoded as ordinary text, so a user who types a marker
gets its letters, never its token.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tokenizers import Tokenizer

from components.data.chat_format import ChatFormat, Messages, Piece, Turn, load_format, split_at_markers
from components.data.templates import lineage

TURNS_KEPT = 10_000
ENCODED_TOGETHER = 200  # conversations


@dataclass(frozen=True)
class EncodedChat:
    """Token ids of a conversation and, for each, whether the assistant must learn to say it."""

    input_ids: list[int]
    loss_mask: list[bool]


@dataclass(frozen=True)
class EncodedTurn:
    """A message's ids: `head` of them are of what stands before its text, `tail` of what stands after it."""

    ids: list[int]
    head: int
    tail: int

    def start(self, length: int) -> list[int]:
        """The frame with the text's first ids, `length` in all; nothing where no text would be left."""
        kept = length - self.head - self.tail
        text = self.ids[self.head : len(self.ids) - self.tail]
        return self._framed(text[:kept]) if kept > 0 and text else []

    def end(self, length: int) -> list[int]:
        """The frame with the text's last ids, `length` in all; nothing where no text would be left."""
        kept = length - self.head - self.tail
        text = self.ids[self.head : len(self.ids) - self.tail]
        return self._framed(text[max(0, len(text) - kept) :]) if kept > 0 and text else []

    def _framed(self, text: list[int]) -> list[int]:
        return self.ids[: self.head] + text + self.ids[len(self.ids) - self.tail :]


class ChatTokenizer:
    """A tokenizer with the special tokens of a chat format.

    Raises:
        ValueError: the tokenizer lacks some of them.
    """

    def __init__(self, tokenizer: Tokenizer, format: ChatFormat = lineage.FORMAT) -> None:
        ids = {token: tokenizer.token_to_id(token) for token in format.special_tokens}
        known = {token: int(number) for token, number in ids.items() if number is not None}
        if len(known) < len(ids):
            raise ValueError(f"the tokenizer lacks the special tokens {', '.join(ids.keys() - known.keys())}")
        tokenizer.encode_special_tokens = True  # markers inside text are text: no prompt can forge a role
        self.tokenizer, self.format = tokenizer, format
        self._bounded, self._is_bare, self._special = format.bounded, format.bare, format.special_tokens
        self.markers = known
        self.endoftext, self.pad = self.markers[format.endoftext], self.markers[format.pad]
        self.end = self.markers[format.end]
        added = tokenizer.get_added_tokens_decoder().items()
        self.special_ids = frozenset(self.markers.values()) | {number for number, token in added if token.special}
        self._turns: dict[Turn, EncodedTurn] = {}

    @classmethod
    def load(cls, path: Path) -> "ChatTokenizer":
        """Read a `tokenizer.json`, and the format of the `chat.json` beside it where there is one."""
        return cls(Tokenizer.from_file(str(path)), load_format(path.parent) or lineage.FORMAT)

    @property
    def vocab_size(self) -> int:
        return int(self.tokenizer.get_vocab_size())

    def encode_text(self, text: str) -> list[int]:
        """Ids of plain text; never a special token."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_pieces(self, pieces: Sequence[Piece]) -> list[int]:
        """Ids of markers and texts; texts that follow each other are one, and never give a special token."""
        return self._tokens(pieces)[1]

    def encode_reply(self, text: str) -> list[int]:
        """Ids of what the assistant says after the cue, the end marker last."""
        (turn,) = self.format.turns([{"role": "assistant", "content": text}], opening=False)
        encoded = self._turn(turn)
        return encoded.ids[encoded.head : encoded.head + self._learned(encoded)]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens left out."""
        return str(self.tokenizer.decode([i for i in ids if i not in self.special_ids]))

    def encode_chat(self, messages: Messages, *, opening: bool = True) -> EncodedChat:
        """Encode a whole conversation; the loss covers each assistant text and the end marker after it.

        opening: whether it begins a row, or goes on with one.
        """
        ids: list[int] = []
        mask: list[bool] = []
        turns = self.format.turns(self.format.opened(messages) if opening else messages, opening=opening)
        for turn, encoded in zip(turns, self._encoded(turns), strict=True):
            learned = self._learned(encoded) if turn.role == "assistant" else 0
            ids += encoded.ids
            mask += [False] * encoded.head + [True] * learned
            mask += [False] * (len(ids) - len(mask))
        return EncodedChat(ids, mask)

    def remember(self, messages: Messages) -> None:
        """Encode messages together, over all cores, for the chats and prompts that will be made of them."""
        if self._is_bare:
            turns = [self.format.turns([message], opening=False)[0] for message in messages]
            turns = list(dict.fromkeys(turns))
            self._turns = dict(zip(turns, self._bare(turns), strict=True))

    def encode_prompt(self, messages: Messages, *, max_tokens: int) -> list[int]:
        """Encode a conversation up to the point where the assistant speaks, within max_tokens.

        Older turns go first, whole. Where the system message and the last turn alone are too long, the last turn loses
        its beginning, so that what the user said last is kept; before that, a system message loses its end until it
        fills no more than half of the room, or what the last turn leaves free.
        """
        system, middle, last = self._parts(messages)
        cue = self._marked(self.format.cue)
        room = max_tokens - len(cue)
        ends = self._encoded(self.format.turns(system + last))
        length = sum(len(turn.ids) for turn in ends)
        if length > room:
            return self._cut(ends[: len(system)], ends[len(system) :], room) + cue
        kept: list[dict[str, str]] = []
        for message in reversed(middle):
            length += len(self._turn(self.format.turns([message], opening=False)[0]).ids)
            if length > room:
                break
            kept.insert(0, message)
        while True:
            turns = [*self.format.turns(system + kept + last), Turn("assistant", self.format.cue, "", "")]
            ids = [number for turn in self._encoded(turns) for number in turn.ids]
            if len(ids) <= max_tokens or not kept:
                return ids
            kept.pop(0)  # tokens that join across messages may be more than those of each alone

    @staticmethod
    def _cut(system: list[EncodedTurn], last: list[EncodedTurn], room: int) -> list[int]:
        """A system message and a last turn that are too long together."""
        opening = [number for turn in system for number in turn.ids]
        share = max(room // 2, room - sum(len(turn.ids) for turn in last))
        if len(opening) > share:
            opening = [number for turn in system for number in turn.start(share)]
        return opening + [number for turn in last for number in turn.end(room - len(opening))]

    def is_cut(self, messages: Messages, *, max_tokens: int) -> bool:
        """Whether `encode_prompt` takes words from the system message or from the last turn."""
        system, _, last = self._parts(messages)
        ends = sum(len(turn.ids) for turn in self._encoded(self.format.turns(system + last)))
        return ends + len(self._marked(self.format.cue)) > max_tokens

    def _parts(self, messages: Messages) -> tuple[list[dict[str, str]], ...]:
        """The system message, the turns between, and the last turn, none for what is not there."""
        told = self.format.opened(messages)
        rest = int(bool(told) and told[0]["role"] == "system")
        return told[:rest], told[rest:-1], told[rest:][-1:]

    def _learned(self, turn: EncodedTurn) -> int:
        """How many ids after its head are the assistant's to say: its text, and on to the end marker."""
        after = turn.ids[len(turn.ids) - turn.tail :]
        ending = after.index(self.end) + 1 if self.end in after else 0
        return len(turn.ids) - turn.head - turn.tail + ending

    def _turn(self, turn: Turn) -> EncodedTurn:
        """One message alone; kept, since every place where the assistant answers sees the turns before it again."""
        if turn not in self._turns:
            if len(self._turns) >= TURNS_KEPT:
                self._turns.clear()
            (self._turns[turn],) = self._bare([turn]) if self._is_bare else self._joined([turn])
        return self._turns[turn]

    def _encoded(self, turns: Sequence[Turn]) -> list[EncodedTurn]:
        """Messages one after the other."""
        return [self._turn(turn) for turn in turns] if self._bounded else self._joined(turns)

    def _marked(self, text: str) -> list[int]:
        """Ids of a text of a frame, in which markers are markers."""
        pieces = split_at_markers(text, self._special)
        return [i for special, piece in pieces for i in ([self.markers[piece]] if special else self.encode_text(piece))]

    def _bare(self, turns: Sequence[Turn]) -> list[EncodedTurn]:
        """Messages between markers."""
        texts = self.tokenizer.encode_batch_fast([turn.content for turn in turns], add_special_tokens=False)
        around = [(self._marked(turn.before), self._marked(turn.after)) for turn in turns]
        return [
            EncodedTurn([*before, *text.ids, *after], len(before), len(after))
            for text, (before, after) in zip(texts, around, strict=True)
        ]

    def _joined(self, turns: Sequence[Turn]) -> list[EncodedTurn]:
        """Messages between markers and texts, encoded as one text: a token may hold parts of both.

        A token belongs to where it begins.
        """
        pieces: list[Piece] = []
        places: list[tuple[int, int, int]] = []  # where a turn's text begins and ends, and where the turn ends
        position = 0
        for turn in turns:
            pieces += self.format.pieces(turn)
            text_start = position + len(turn.before)
            text_end = text_start + len(turn.content)
            position = text_end + len(turn.after)
            places.append((text_start, text_end, position))
        starts, ids = self._tokens(pieces)
        encoded = []
        begin = 0
        for text_start, text_end, end in places:
            head, tail, stop = (bisect_left(starts, at, begin) for at in (text_start, text_end, end))
            encoded.append(EncodedTurn(ids[begin:stop], head - begin, stop - tail))
            begin = stop
        return encoded

    def _tokens(self, pieces: Sequence[Piece]) -> tuple[list[int], list[int]]:
        """Where each token of some pieces begins, and its id; texts that follow each other are one."""
        starts: list[int] = []
        ids: list[int] = []
        position = 0
        for special, group in groupby(pieces, key=lambda piece: piece[0]):
            texts = [text for _, text in group]
            if special:
                for text in texts:
                    starts.append(position)
                    ids.append(self.markers[text])
                    position += len(text)
                continue
            encoding = self.tokenizer.encode("".join(texts), add_special_tokens=False)
            starts += [position + begin for begin, _ in encoding.offsets]
            ids += encoding.ids
            position += sum(map(len, texts))
        return starts, ids

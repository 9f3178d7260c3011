"""Text of a reply whose tokens come one at a time."""

from components.data.chat import ChatTokenizer

UNFINISHED = "\ufffd"  # how a decoder writes bytes that are no character, or not yet


class Detokenizer:
    """Text of one reply. The pieces joined are the text of all its tokens, special ones left out.

    Only the tokens since the last piece are decoded, behind those of that piece, since how a token is written may
    depend on the one before it.
    """

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []  # of the last piece, and after it
        self._said = 0  # how many of them are the last piece's

    def feed(self, token: int) -> str:
        """What a further token completes; the bytes of a character may be spread over tokens."""
        if token in self._tokenizer.special_ids:
            return ""
        self._ids.append(token)
        new = self._new()
        return "" if new.endswith(UNFINISHED) else self._say(new)

    def finish(self) -> str:
        """What was held back."""
        return self._say(self._new())

    def _new(self) -> str:
        return self._tokenizer.decode(self._ids)[len(self._tokenizer.decode(self._ids[: self._said])) :]

    def _say(self, new: str) -> str:
        self._ids = self._ids[self._said :]
        self._said = len(self._ids)
        return new

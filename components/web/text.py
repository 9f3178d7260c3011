"""Text of tokens as they come: whole characters, nothing of a stop text, no blanks around a reply."""

from collections.abc import Sequence

from components.data.chat import ChatTokenizer
from components.data.detokenizing import Detokenizer


class Ending:
    """Cuts a text before the first of some stop texts, and holds back what may become one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """What can be said for sure once `text` is there too."""
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            said, self._held = self._held[: min(found)], ""
            return said
        kept = max((self._overlap(stop) for stop in self._stops), default=0)
        said, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
        return said

    def finish(self) -> str:
        """What was held back and became no stop text."""
        said, self._held = self._held, ""
        return said

    def _overlap(self, stop: str) -> int:
        """How many of the last characters begin this stop text."""
        longest = min(len(stop) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)


class Trim:
    """A text without the blanks at its beginning and its end."""

    def __init__(self) -> None:
        self._begun = False
        self._held = ""

    def feed(self, text: str) -> str:
        """What is certainly within the text."""
        text = self._held + text
        text = text if self._begun else text.lstrip()
        self._begun = self._begun or bool(text)
        said = text.rstrip()
        self._held = text[len(said) :]
        return said


class Writer:
    """A reply's text, token by token."""

    def __init__(self, tokenizer: ChatTokenizer, stops: Sequence[str] = (), *, trim: bool) -> None:
        self._detokenizer, self._ending = Detokenizer(tokenizer), Ending(stops)
        self._trim = Trim() if trim else None

    @property
    def stopped(self) -> bool:
        """Whether a stop text was met; nothing may be fed after it."""
        return self._ending.stopped

    def feed(self, token: int, *, last: bool) -> str:
        """What a further token lets be said; all that is left where it is the last."""
        text = self._ending.feed(self._detokenizer.feed(token))
        if last and not self.stopped:
            text += self._ending.feed(self._detokenizer.finish())
            if not self.stopped:
                text += self._ending.finish()
        return text if self._trim is None else self._trim.feed(text)

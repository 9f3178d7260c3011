"""Long texts, cut into documents."""

from collections.abc import Iterable, Iterator

# A document that is cut out of a long text, in characters: it ends with the first paragraph beyond the shortest.
SHORTEST, LONGEST = 2000, 4000


def cut_text(blocks: Iterable[str]) -> Iterator[str]:
    """Cut a text that comes in blocks into pieces of at most `LONGEST` characters, between paragraphs or lines.

    Pieces put together are the text; those of blanks alone are left out.
    """
    rest = ""
    for block in blocks:
        rest += block
        start = 0
        while len(rest) - start > LONGEST:
            end = start + _boundary(rest[start : start + LONGEST])
            if rest[start:end].strip():
                yield rest[start:end]
            start = end
        rest = rest[start:]
    if rest.strip():
        yield rest


def _boundary(text: str) -> int:
    """Where to cut: the first end of a paragraph in the second half, else the last end of a line, else of a word."""
    paragraph = text.find("\n\n", SHORTEST)
    if paragraph >= 0:
        return paragraph + 2
    for mark in ("\n", " "):
        found = text.rfind(mark, SHORTEST)
        if found >= 0:
            return found + 1
    return len(text)

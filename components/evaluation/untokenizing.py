"""Undoing what was done to a data set's text, so that a model is asked for text as people write it.

GPT-2's `invertible de-tokenizers` (Radford et al. 2019, section 3.1) are not published; these are ours. Every rule has
an inverse, and is kept in a line only where its inverse restores the line: from a text and the rules that were kept the
line comes back. A line that is written plainly already stays as it is, and may then read like another one's plain form.
"""

import re
from dataclasses import dataclass

from components.evaluation.wording import SHORT


@dataclass(frozen=True)
class Rule:
    """A pattern with what stands in its place, and the way back."""

    pattern: str
    plain: str
    back_pattern: str
    back: str

    def apply(self, line: str) -> str:
        """The line with the rule; as it is where the way back would not lead to it."""
        changed = re.sub(self.pattern, self.plain, line)
        return changed if re.sub(self.back_pattern, self.back, changed) == line else line


_NOT_SHORT = "".join(rf"(?<!\b{short})" for short in SHORT)  # tokenizers left their points where they were


def _after(marks: str, unless: str = "") -> Rule:
    """A mark that stands behind a blank, unless something stands before."""
    return Rule(rf"(?<=\S){unless} ([{marks}])(?= |$)", r"\1", rf"(?<=[^\s{marks}]){unless}([{marks}])(?= |$)", r" \1")


# The order matters: numbers before the marks within them, quotes before the marks that may touch them.
WIKITEXT = (
    Rule(r"(?<=\d) @([,.])@ (?=\d)", r"\1", r"(?<=\d)([,.])(?=\d)", r" @\1@ "),
    Rule(r"(?<=[\w>]) @-@ (?=[\w<])", "-", r"(?<=[\w>])-(?=[\w<])", " @-@ "),
)
TREEBANK = (
    Rule(r"(?<=\w) (n't)\b", r"\1", r"(?<=\w)(n't)\b", r" \1"),
    Rule(r"(?<=\S) ('(?:s|m|d|re|ve|ll))(?= |$)", r"\1", r"(?<=\S)('(?:s|m|d|re|ve|ll))(?= |$)", r" \1"),
    Rule(r"([$£€]) (?=\d)", r"\1", r"([$£€])(?=\d)", r"\1 "),
    Rule(r'(^| )" ([^"]+) "(?= |$)', r'\1"\2"', r'(^| )"([^" ]|[^" ][^"]*[^" ])"(?= |$)', r'\1" \2 "'),
    Rule(r"([(\[]) (?=\S)", r"\1", r"([(\[])(?=\S)", r"\1 "),
    Rule(r"(?<=\S) ([)\]])", r"\1", r"(?<=\S)([)\]])", r" \1"),
    _after(","),
    _after(";"),
    _after(":"),
    _after("!?"),
    _after(".", unless=_NOT_SHORT),
)
RULES = {"none": (), "treebank": TREEBANK, "wikitext": (*WIKITEXT, *TREEBANK)}


def untokenized(text: str, kind: str) -> str:
    """A text line by line as people write it.

    Args:
        text: as the data set has it.
        kind: one of RULES: treebank (PTB, 1BW), wikitext (which joins numbers and compounds besides), none.
    """
    lines = text.split("\n")
    for rule in RULES[kind]:
        lines = [rule.apply(line) for line in lines]
    return "\n".join(lines)

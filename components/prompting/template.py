"""Templates of prompts: text with `{{ variables }}`, as MLflow's prompt registry writes them."""

import difflib
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

_VARIABLE = re.compile(r"{{\s*([A-Za-z_]\w*)\s*}}")
_BRACES = re.compile(r"{{|}}")


class TemplateError(ValueError):
    """A template is malformed, or is given other variables than it has."""


@dataclass(frozen=True)
class Template:
    """A text with variables; whatever stands in for a variable is text, and is not looked into again.

    Raises:
        TemplateError: braces are left that are no variable.
    """

    name: str
    text: str

    def __post_init__(self) -> None:
        if stray := _BRACES.search(_VARIABLE.sub(lambda own: " " * len(own.group()), self.text)):
            line = self.text[: stray.start()].count("\n") + 1
            raise TemplateError(f"{self.name}, line {line}: {stray.group()} is no variable; one is {{{{ name }}}}")

    @property
    def variables(self) -> frozenset[str]:
        """The names that stand in it."""
        return frozenset(_VARIABLE.findall(self.text))

    @property
    def digest(self) -> str:
        """Of its content: the same text has the same one wherever it lies."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    def render(self, **values: str) -> str:
        """The text with its variables' values.

        Raises:
            TemplateError: a variable has no value, or a value no variable.
        """
        self.check(frozenset(values))
        return _VARIABLE.sub(lambda match: values[match.group(1)], self.text)

    def check(self, given: frozenset[str]) -> None:
        """Raises: TemplateError: it has other variables than are given."""
        lacking, unused = sorted(self.variables - given), sorted(given - self.variables)
        problems = [f"no value for {', '.join(lacking)}"] if lacking else []
        problems += [f"{', '.join(unused)} stands nowhere in it"] if unused else []
        if problems:
            raise TemplateError(f"{self.name}: {'; '.join(problems)}")


def read_template(path: Path) -> Template:
    """A template from its file, named by it; the last line's end is not part of it.

    Raises:
        TemplateError: there is no such file, or it is malformed.
    """
    try:
        return Template(path.stem, path.read_text(encoding="utf-8").removesuffix("\n"))
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def difference(old: Template, new: Template, names: tuple[str, str]) -> str:
    """What changed between two texts, line by line; "" if nothing did."""
    lines = difflib.unified_diff(old.text.splitlines(), new.text.splitlines(), *names, lineterm="")
    return "\n".join(lines)

"""Parameters that name a file of the user's: a node whose parameters name one depends on it (`flows.render`)."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, get_args

from pydantic import Field

READ = "the node reads this file"
# By its path from the repository's root, or a whole one; of what it may hold nothing means anything to YAML or to DVC.
InputFile = Annotated[str, Field(pattern=r"^[\w./]([\w./+=@ -]*\w)?$"), READ]


def files_of(value: Any) -> Iterator[str]:
    """The files that the parameters of a section, and of those within it, name."""
    if is_dataclass(value):
        for own in fields(value):
            part = getattr(value, own.name)
            if READ in get_args(own.type):
                yield part
            else:
                yield from files_of(part)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from files_of(item)

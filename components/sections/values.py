"""From plain trees to typed sections, every problem listed."""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from components.sections.seam import Seam


def merged(tree: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """One section of several, in which a later one only has what differs.

    Where a part is of another `kind` than before, it takes the part's place as a whole.
    """
    result: dict[str, Any] = {}
    for name in names:
        result = _merge(result, tree.get(name) or {})
    return result


def _merge(below: Any, above: Any) -> Any:
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return copy.deepcopy(above)
    if "kind" in above and above["kind"] != below.get("kind"):
        return copy.deepcopy(dict(above))
    return {**below, **{key: _merge(below.get(key), value) for key, value in above.items()}}


def typed(kind: Any, name: str, value: Any, problems: list[str], there: bool = True) -> Any:
    """A value as its type, or None after its problems have been added to the list."""
    if not there:
        problems.append(f"{name}: it is missing")
        return None
    try:
        return TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        for found in error.errors():
            place = ".".join(part for part in (name, _place(found, value)) if part)
            problems.append(f"{place}: {found['msg'].removeprefix('Value error, ')}")
        return None


def _place(error: Any, tree: Any) -> str:
    """Where in a section a problem is: without the kinds by which pydantic tells the forms of a section apart."""
    node, keys = tree, []
    for key in error["loc"]:
        inside = (isinstance(node, dict) and key in node) or (isinstance(node, list) and isinstance(key, int))
        if inside or (error["type"] == "missing" and key == error["loc"][-1]):
            keys.append(str(key))
        if inside:
            node = node[key]
    return ".".join(keys)


def forms(kind: Any) -> Iterator[Any]:
    """The sections that a type may be."""
    if isinstance(kind, Seam):
        yield from (form for _, form in kind.sections())
    elif is_dataclass(kind):
        yield kind
    for part in get_args(kind):
        yield from forms(part)

"""Reading `params.yaml`: a key that is unknown, missing or contradictory fails at load, all of them listed."""

import copy
import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from components import yaml12
from components.schema import Params

PARAMS_FILE = Path("params.yaml")


class ParamsError(ValueError):
    """`params.yaml` or an override is wrong; the message lists every problem at once."""


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and check a parameter file.

    Raises:
        ParamsError: the file is missing, no YAML, or breaks the schema; lists all problems.
    """
    return check(read_tree(path), source=str(path))


def read_tree(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """The plain tree of a parameter file, before any check.

    Raises:
        ParamsError: the file is missing, no YAML mapping, or has a key twice.
    """
    try:
        tree = yaml12.load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path} not found: run from the root of the repository") from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path} is not UTF-8: byte {error.start} cannot be read") from None
    except yaml12.YamlProblem as error:
        raise ParamsError(f"{path} cannot be read: {error}") from None
    if not isinstance(tree, dict):
        raise ParamsError(f"{path} must hold a mapping of sections")
    return tree


def parse_value(text: str) -> Any:
    """The value of an override such as `ppo.kl_coef=1e-2`, read as it would be in the file.

    Raises:
        ParamsError: it is no YAML.
    """
    try:
        return yaml12.load(text)
    except yaml12.YamlProblem as error:
        raise ParamsError(f"{text!r} is not YAML: {error}. Put a text in quotes") from None


def write_tree(tree: dict[str, Any], path: Path) -> None:
    """Write a parameter file that `read_tree` reads back as the same tree."""
    path.write_text(yaml12.dump(tree), encoding="utf-8")


def check(tree: dict[str, Any], *, source: str) -> Params:
    """Build the typed tree.

    Raises:
        ParamsError: lists every unknown, missing, ill-typed and contradictory key, those of presets included.
    """
    problems = list(_unknown_in_presets(tree))
    try:
        params = TypeAdapter(Params).validate_json(json.dumps(tree))
    except ValidationError as error:
        problems = [f"{_place(e, tree)}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()] + problems
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise ParamsError(f"{source} has {len(problems)} problem(s):\n{listed}")
    return params


def _place(error: Any, tree: Any) -> str:
    """Where in the file a problem is: without the kinds by which pydantic tells the forms of a section apart."""
    node, keys = tree, []
    for key in error["loc"]:
        inside = (isinstance(node, dict) and key in node) or (isinstance(node, list) and isinstance(key, int))
        if inside or (error["type"] == "missing" and key == error["loc"][-1]):
            keys.append(str(key))
        if inside:
            node = node[key]
    return ".".join(keys) or "(file)"


def _unknown_in_presets(tree: dict[str, Any]) -> Iterator[str]:
    """The keys of presets that no form of the file has; their values are checked when a preset is used."""
    presets = tree.get("presets")
    for name, changes in presets.items() if isinstance(presets, dict) else ():
        for dotted in changes if isinstance(changes, dict) else ():
            if not _is_parameter(str(dotted).split(".")):
                yield f"presets.{name}: no such parameter: {dotted}"


def _is_parameter(keys: list[str]) -> bool:
    kinds: list[Any] = [Params]
    for key in keys:
        kinds = [f.type for kind in kinds for f in fields(kind) if f.name == key]
        if not kinds:
            return False
        kinds = [leaf for kind in kinds for leaf in _sections(kind)]
    return True


def _sections(kind: Any) -> Iterator[Any]:
    """The dataclasses that a field's type may be."""
    if is_dataclass(kind):
        yield kind
    for part in get_args(kind):
        yield from _sections(part)


def override(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of the tree with dotted keys replaced.

    Raises:
        ParamsError: lists every key that the tree does not have.
    """
    result = copy.deepcopy(tree)
    unknown = []
    for dotted, value in changes.items():
        *parents, leaf = dotted.split(".")
        node: Any = result
        for key in parents:
            node = node.get(key) if isinstance(node, dict) else None
        if isinstance(node, dict) and leaf in node:
            node[leaf] = value
        else:
            unknown.append(dotted)
    if unknown:
        raise ParamsError(f"no such parameter: {', '.join(unknown)}. Keys are section.key, as in {PARAMS_FILE}")
    return result

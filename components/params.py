"""Reading `params.yaml`: a key that is unknown, missing or contradictory fails at load, all of them listed."""

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

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
        ParamsError: the file is missing or no YAML mapping.
    """
    try:
        tree = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ParamsError(f"{path} not found: run from the root of the repository") from None
    except yaml.YAMLError as error:
        raise ParamsError(f"{path} is not YAML: {error}") from None
    if not isinstance(tree, dict):
        raise ParamsError(f"{path} must hold a mapping of sections")
    return tree


def check(tree: dict[str, Any], *, source: str) -> Params:
    """Build the typed tree.

    Raises:
        ParamsError: lists every unknown, missing, ill-typed and contradictory key.
    """
    try:
        params = TypeAdapter(Params).validate_json(json.dumps(tree, default=str))
    except ValidationError as error:
        problems = [f"  {'.'.join(map(str, e['loc'])) or '(file)'}: {e['msg']}" for e in error.errors()]
        raise ParamsError(f"{source} has {len(problems)} problem(s):\n" + "\n".join(problems)) from None
    return params


def override(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of the tree with dotted keys replaced.

    Raises:
        ParamsError: lists every key that the tree does not have.
    """
    result: dict[str, Any] = yaml.safe_load(yaml.safe_dump(tree))
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

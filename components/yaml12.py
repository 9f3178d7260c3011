"""YAML 1.2 as DVC reads it, in PyYAML, which reads 1.1: there 1e-4 is a text, `no` is false and 010 is 8.

A key that stands twice is a problem instead of being overwritten in silence.
"""

import re
from typing import Any

import yaml

# The core schema of YAML 1.2, section 10.3.2; `<<` stays, for files that merge.
SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
)
RADIX = {"0o": 8, "0x": 16}


class YamlProblem(ValueError):
    """A text is not YAML or has a key twice; one sentence with the lines."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 (PyYAML's own way)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.twice: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.value in lines:
                self.twice.append(f"{key.value} stands on line {lines[key.value]} and again on line {line}")
            elif isinstance(key, yaml.ScalarNode):
                lines[key.value] = line
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes a text that either version of YAML would take for something else."""


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, RADIX.get(text[:2], 10)) if text[:2] in RADIX else int(text)


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node)).lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _no_parameter(loader: _Loader, node: yaml.Node) -> Any:
    raise yaml.constructor.ConstructorError(None, None, f"no parameter is a {node.tag}", node.start_mark)


for _name, _pattern, _first in SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)
for _name in ("timestamp", "binary", "set", "omap", "pairs"):  # asked for by a tag; no parameter is one
    _Loader.add_constructor(f"tag:yaml.org,2002:{_name}", _no_parameter)


def load(text: str) -> Any:
    """The plain tree of a text.

    Raises:
        YamlProblem: it is no YAML, or has keys twice; all of these are listed.
    """
    loader = None
    try:
        loader = _Loader(text)
        tree = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise YamlProblem(f"{place}{error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlProblem(" ".join(str(error).split())) from None
    finally:
        if loader is not None:
            loader.dispose()
    if loader.twice:
        raise YamlProblem("; ".join(loader.twice))
    return tree


def dump(tree: Any) -> str:
    """A text that `load` reads back as the same tree, in the tree's order."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)

"""Gates: the bounds a stage's newest model must keep to become champion."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import model_validator

from components.sections.base import section


@section
class Gate:
    """A bound on one figure of an evaluation (components.figures), named by its dotted path."""

    metric: str
    minimum: float | None = None
    maximum: float | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> "Gate":
        if (self.minimum is None) == (self.maximum is None):
            raise ValueError("a gate has a minimum or a maximum")
        return self


# What the newest model of a node must reach to become champion, by the node's name; all its bounds must hold.
Gates: TypeAlias = dict[str, tuple[Gate, ...]]


def look_up(metrics: Mapping[str, Any], dotted: str) -> float | None:
    """A figure of nested metrics by its dotted path, or None where it is missing or not a number."""
    node: Any = metrics
    for key in dotted.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return float(node) if isinstance(node, int | float) else None


@dataclass(frozen=True)
class Verdict:
    """What became of a stage's gate: a sentence for each bound that does not hold, and for each that nobody can judge.

    A gate is passed when at least one bound could be judged and none failed.
    """

    failed: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.failed

    def __str__(self) -> str:
        without = f" (left out: {'; '.join(self.left_out)})" if self.left_out else ""
        return ("passed" if self.passed else "closed: " + "; ".join(self.failed)) + without


def verdict(gates: tuple[Gate, ...], metrics: Mapping[str, Any]) -> Verdict:
    """The verdict on a stage's bounds; a figure that is missing or not finite fails.

    `left_out` of the metrics names the figures, by how they begin, that these data do not allow; `inapplicable`
    those that are not asked for with this labeler.
    """
    unknown: Mapping[str, str] = metrics.get("left_out", {})
    failed, left_out = [], []
    for gate in gates:
        leaf = gate.metric.rsplit(".", 1)[-1]
        if leaf.startswith(tuple(metrics.get("inapplicable", ()))):
            continue
        reason = next((why for name, why in unknown.items() if leaf.startswith(name)), None)
        failure = _failure(gate, look_up(metrics, gate.metric))
        if failure and reason:
            left_out.append(f"{gate.metric}: {reason}")
        elif failure:
            failed.append(failure)
    if gates and len(left_out) == len(gates):
        failed.append("none of its bounds can be judged")
    return Verdict(tuple(failed), tuple(left_out))


def _failure(gate: Gate, value: float | None) -> str | None:
    if value is None:
        return f"{gate.metric} is missing"
    # Written so that a NaN fails.
    if gate.minimum is not None and not value >= gate.minimum:
        return f"{gate.metric} {value:.4g} is below {gate.minimum:g}"
    if gate.maximum is not None and not value <= gate.maximum:
        return f"{gate.metric} {value:.4g} is above {gate.maximum:g}"
    return None


def verdicts(gates: Gates, metrics: Mapping[str, Any]) -> dict[str, Verdict]:
    """The verdict on each node that has a gate."""
    return {name: verdict(bounds, metrics) for name, bounds in gates.items()}

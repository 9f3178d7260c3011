"""Gates: the bounds a stage's newest model must keep to become champion."""

from collections.abc import Mapping
from typing import Any

from components.schema import Gate, Gates


def look_up(metrics: Mapping[str, Any], dotted: str) -> float | None:
    """A figure of nested metrics by its dotted path, or None where it is missing or not a number."""
    node: Any = metrics
    for key in dotted.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return float(node) if isinstance(node, int | float) else None


def failures(gates: tuple[Gate, ...], metrics: Mapping[str, Any]) -> list[str]:
    """A sentence for each bound that does not hold; a figure that is missing or not finite does not."""
    return [reason for gate in gates if (reason := _failure(gate, look_up(metrics, gate.metric)))]


def _failure(gate: Gate, value: float | None) -> str | None:
    if value is None:
        return f"{gate.metric} is missing"
    # Written so that a NaN fails.
    if gate.minimum is not None and not value >= gate.minimum:
        return f"{gate.metric} {value:.4g} is below {gate.minimum:g}"
    if gate.maximum is not None and not value <= gate.maximum:
        return f"{gate.metric} {value:.4g} is above {gate.maximum:g}"
    return None


def verdicts(gates: Gates, metrics: Mapping[str, Any]) -> dict[str, list[str]]:
    """For each stage with gates, what failed; an empty list is a pass."""
    return {stage: failures(getattr(gates, stage), metrics) for stage in vars(gates)}

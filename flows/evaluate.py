"""Measure every stage's model and decide the gates, and first whatever that needs and is stale.

python -m flows.evaluate [--preset NAME] [--set section.key=value ...] [--force STAGE]
"""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import flow

from flows.command import trigger
from flows.road import travel


@flow(name="evaluate", description="Measure every stage's model and decide the gates.")
def evaluate(
    preset: str = "default", overrides: Mapping[str, Any] | None = None, force: Sequence[str] = ()
) -> dict[str, str]:
    """Bring the road up to evaluate up to date; for each stage, what DVC did."""
    return travel(preset, overrides or {}, until="evaluate", start=None, force=force)


if __name__ == "__main__":
    trigger(evaluate, __doc__)

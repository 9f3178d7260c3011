"""Measure every stage's model and decide the gates, and first whatever that needs and is stale.

python -m flows.evaluate [--preset NAME] [--set section.key=value ...] [--force STAGE] [--plan]
"""

from prefect import flow

from flows.command import trigger
from flows.forms import Force, Overrides, Preset
from flows.road import travel


@flow(name="evaluate", description="Measure every stage's model and decide the gates.")
def evaluate(preset: Preset = "default", overrides: Overrides = None, force: Force = None) -> dict[str, str]:
    """Bring the road up to evaluate up to date; for each stage, what DVC did."""
    return travel(preset, overrides or {}, until="evaluate", start=None, force=force or [])


if __name__ == "__main__":
    trigger(evaluate, __doc__)

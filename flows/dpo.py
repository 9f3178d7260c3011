"""Align with the rankings themselves, and first whatever that needs and is stale.

python -m flows.dpo [--preset NAME] [--set section.key=value ...] [--force STAGE] [--plan]
"""

from prefect import flow

from flows.command import trigger
from flows.forms import Force, Overrides, Preset
from flows.road import travel


@flow(name="dpo", description="Align with the rankings themselves.")
def dpo(preset: Preset = "default", overrides: Overrides = None, force: Force = None) -> dict[str, str]:
    """Bring the road up to dpo up to date; for each stage, what DVC did."""
    return travel(preset, overrides or {}, until="dpo", start=None, force=force or [])


if __name__ == "__main__":
    trigger(dpo, __doc__)

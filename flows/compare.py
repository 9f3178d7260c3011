"""Gather comparisons of the SFT model's replies, and first whatever that needs and is stale.

python -m flows.compare [--preset NAME] [--set section.key=value ...] [--force STAGE] [--plan]
"""

from prefect import flow

from flows.command import trigger
from flows.forms import Force, Overrides, Preset
from flows.road import travel


@flow(name="compare", description="Gather comparisons of the SFT model's replies.")
def compare(preset: Preset = "default", overrides: Overrides = None, force: Force = None) -> dict[str, str]:
    """Bring the road up to compare up to date; for each stage, what DVC did."""
    return travel(preset, overrides or {}, until="compare", start=None, force=force or [])


if __name__ == "__main__":
    trigger(compare, __doc__)

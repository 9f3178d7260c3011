"""Pretrain the base model, and first whatever that needs and is stale.

python -m flows.pretrain [--preset NAME] [--set section.key=value ...] [--force STAGE] [--plan]
"""

from prefect import flow

from flows.command import trigger
from flows.forms import Force, Overrides, Preset
from flows.road import travel


@flow(name="pretrain", description="Pretrain the base model.")
def pretrain(preset: Preset = "default", overrides: Overrides = None, force: Force = None) -> dict[str, str]:
    """Bring the road up to pretrain up to date; for each stage, what DVC did."""
    return travel(preset, overrides or {}, until="pretrain", start=None, force=force or [])


if __name__ == "__main__":
    trigger(pretrain, __doc__)

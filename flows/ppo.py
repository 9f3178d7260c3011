"""Align the SFT model with the reward model, and first whatever that needs and is stale.

python -m flows.ppo [--preset NAME] [--set section.key=value ...] [--force STAGE] [--plan]
"""

from prefect import flow

from flows.command import trigger
from flows.forms import Force, Overrides, Preset
from flows.road import travel


@flow(name="ppo", description="Align the SFT model with the reward model.")
def ppo(preset: Preset = "default", overrides: Overrides = None, force: Force = None) -> dict[str, str]:
    """Bring the road up to ppo up to date; for each stage, what DVC did."""
    return travel(preset, overrides or {}, until="ppo", start=None, force=force or [])


if __name__ == "__main__":
    trigger(ppo, __doc__)

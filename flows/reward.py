"""Train the reward model, and first whatever that needs and is stale.

python -m flows.reward [--preset NAME] [--set section.key=value ...] [--force STAGE] [--plan]
"""

from prefect import flow

from flows.command import trigger
from flows.forms import Force, Overrides, Preset
from flows.road import travel


@flow(name="reward", description="Train the reward model.")
def reward(preset: Preset = "default", overrides: Overrides = None, force: Force = None) -> dict[str, str]:
    """Bring the road up to reward up to date; for each stage, what DVC did."""
    return travel(preset, overrides or {}, until="reward", start=None, force=force or [])


if __name__ == "__main__":
    trigger(reward, __doc__)

"""Fine-tune on demonstrations, and first whatever that needs and is stale.

python -m flows.sft [--preset NAME] [--set section.key=value ...] [--force STAGE] [--plan]
"""

from prefect import flow

from flows.command import trigger
from flows.forms import Force, Overrides, Preset
from flows.road import travel


@flow(name="sft", description="Fine-tune on demonstrations.")
def sft(preset: Preset = "default", overrides: Overrides = None, force: Force = None) -> dict[str, str]:
    """Bring the road up to sft up to date; for each stage, what DVC did."""
    return travel(preset, overrides or {}, until="sft", start=None, force=force or [])


if __name__ == "__main__":
    trigger(sft, __doc__)

"""Fine-tune on the best-ranked replies, and first whatever that needs and is stale.

python -m flows.feedme [--preset NAME] [--set section.key=value ...] [--force STAGE] [--plan]
"""

from prefect import flow

from flows.command import trigger
from flows.forms import Force, Overrides, Preset
from flows.road import travel


@flow(name="feedme", description="Fine-tune on the best-ranked replies.")
def feedme(preset: Preset = "default", overrides: Overrides = None, force: Force = None) -> dict[str, str]:
    """Bring the road up to feedme up to date; for each stage, what DVC did."""
    return travel(preset, overrides or {}, until="feedme", start=None, force=force or [])


if __name__ == "__main__":
    trigger(feedme, __doc__)

"""Clean, de-duplicate and split the data; train the tokenizer, and first whatever that needs and is stale.

python -m flows.prepare [--preset NAME] [--set section.key=value ...] [--force STAGE] [--plan]
"""

from prefect import flow

from flows.command import trigger
from flows.forms import Force, Overrides, Preset
from flows.road import travel


@flow(name="prepare", description="Clean, de-duplicate and split the data; train the tokenizer.")
def prepare(preset: Preset = "default", overrides: Overrides = None, force: Force = None) -> dict[str, str]:
    """Bring the road up to prepare up to date; for each stage, what DVC did."""
    return travel(preset, overrides or {}, until="prepare", start=None, force=force or [])


if __name__ == "__main__":
    trigger(prepare, __doc__)

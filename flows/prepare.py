"""Clean, de-duplicate and split the data; train the tokenizer, and first whatever that needs and is stale.

python -m flows.prepare [--preset NAME] [--set section.key=value ...] [--force STAGE]
"""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import flow

from flows.command import trigger
from flows.road import travel


@flow(name="prepare", description="Clean, de-duplicate and split the data; train the tokenizer.")
def prepare(
    preset: str = "default", overrides: Mapping[str, Any] | None = None, force: Sequence[str] = ()
) -> dict[str, str]:
    """Bring the road up to prepare up to date; for each stage, what DVC did."""
    return travel(preset, overrides or {}, until="prepare", start=None, force=force)


if __name__ == "__main__":
    trigger(prepare, __doc__)

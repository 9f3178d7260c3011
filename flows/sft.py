"""Fine-tune on demonstrations, and first whatever that needs and is stale.

python -m flows.sft [--preset NAME] [--set section.key=value ...] [--force STAGE]
"""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import flow

from flows.command import trigger
from flows.road import travel


@flow(name="sft", description="Fine-tune on demonstrations.")
def sft(
    preset: str = "default", overrides: Mapping[str, Any] | None = None, force: Sequence[str] = ()
) -> dict[str, str]:
    """Bring the road up to sft up to date; for each stage, what DVC did."""
    return travel(preset, overrides or {}, until="sft", start=None, force=force)


if __name__ == "__main__":
    trigger(sft, __doc__)

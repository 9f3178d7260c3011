"""Fine-tune on the best-ranked replies, and first whatever that needs and is stale.

python -m flows.feedme [--preset NAME] [--set section.key=value ...] [--force STAGE]
"""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import flow

from flows.command import trigger
from flows.road import travel


@flow(name="feedme", description="Fine-tune on the best-ranked replies.")
def feedme(
    preset: str = "default", overrides: Mapping[str, Any] | None = None, force: Sequence[str] = ()
) -> dict[str, str]:
    """Bring the road up to feedme up to date; for each stage, what DVC did."""
    return travel(preset, overrides or {}, until="feedme", start=None, force=force)


if __name__ == "__main__":
    trigger(feedme, __doc__)

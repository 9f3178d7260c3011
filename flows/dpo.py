"""Align with the rankings themselves, and first whatever that needs and is stale.

python -m flows.dpo [--preset NAME] [--set section.key=value ...] [--force STAGE]
"""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import flow

from flows.command import trigger
from flows.road import travel


@flow(name="dpo", description="Align with the rankings themselves.")
def dpo(
    preset: str = "default", overrides: Mapping[str, Any] | None = None, force: Sequence[str] = ()
) -> dict[str, str]:
    """Bring the road up to dpo up to date; for each stage, what DVC did."""
    return travel(preset, overrides or {}, until="dpo", start=None, force=force)


if __name__ == "__main__":
    trigger(dpo, __doc__)

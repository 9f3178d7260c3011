"""Bring the raw records into data/, the version that data.dvc names.

python -m flows.ingest [--preset NAME] [--set section.key=value ...] [--force STAGE]
"""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import flow

from flows.command import trigger
from flows.road import travel


@flow(name="ingest", description="Bring the raw records into data/.")
def ingest(
    preset: str = "default", overrides: Mapping[str, Any] | None = None, force: Sequence[str] = ()
) -> dict[str, str]:
    """Bring the road up to ingest up to date; for each stage, what DVC did."""
    return travel(preset, overrides or {}, until="ingest", start=None, force=force)


if __name__ == "__main__":
    trigger(ingest, __doc__)

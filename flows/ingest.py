"""Bring the raw records into data/, the version that data.dvc names.

python -m flows.ingest [--preset NAME] [--set section.key=value ...] [--force STAGE] [--plan]
"""

from prefect import flow

from flows.command import trigger
from flows.forms import Force, Overrides, Preset
from flows.road import travel


@flow(name="ingest", description="Bring the raw records into data/.")
def ingest(preset: Preset = "default", overrides: Overrides = None, force: Force = None) -> dict[str, str]:
    """Bring the road up to ingest up to date; for each stage, what DVC did."""
    return travel(preset, overrides or {}, until="ingest", start=None, force=force or [])


if __name__ == "__main__":
    trigger(ingest, __doc__)

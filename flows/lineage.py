"""The one flow: a pipeline's stages, as far as one of them or all of them.

python -m flows.lineage                                    # bring everything up to date
python -m flows.lineage --preset smoke                     # the same stages in two minutes
python -m flows.lineage --pipeline NAME                    # another pipeline: one of pipelines/, or your own folder
python -m flows.lineage --set ppo.kl_coef=0.1              # another value, in a copy; params.yaml stays as it is
python -m flows.lineage --until sft                        # one stage, and first what it needs and is stale
python -m flows.lineage --from reward                      # leave what comes before as it lies
python -m flows.lineage --plan                             # say what would run and why, run nothing
python -m flows.lineage --force sft                        # run a stage again though nothing changed
python -m flows.lineage --at-once 2                        # two stages side by side where their inputs allow it
"""

from prefect import flow

from flows.command import trigger
from flows.forms import AtOnce, Force, FromStage, Overrides, PipelineName, Preset, UntilStage
from flows.run import run_pipeline


@flow(name="lineage", description="Raw text to an aligned chat model; DVC decides which stages must run.")
def lineage(
    pipeline: PipelineName = "default",
    preset: Preset = "default",
    overrides: Overrides = None,
    until: UntilStage = None,
    from_stage: FromStage = None,
    force: Force = None,
    at_once: AtOnce = 1,
) -> dict[str, str]:
    """Bring stages up to date; for each, what DVC did: Completed, Restored or Cached."""
    return run_pipeline(
        preset,
        overrides or {},
        pipeline=pipeline,
        until=until,
        start=from_stage,
        force=force or [],
        at_once=at_once,
    )


if __name__ == "__main__":
    trigger(lineage, __doc__)

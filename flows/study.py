"""Studies: the same stages with other values and other seeds, side by side in one table, one plot and one MLflow run.

python -m flows.study seeds                     # whole lineages: figures with their spread, how often gates are passed
python -m flows.study controls --seeds 1        # the same without a stage's signal: no gate may be passed
python -m flows.study sizes                     # shapes of the model of about the same cost
python -m flows.study rates                     # pretraining's learning rates
python -m flows.study frontier                  # reward against KL, PPO at several coefficients and best-of-n
python -m flows.study methods --seeds 5         # PPO, GRPO, RLOO, DPO and FeedME
python -m flows.study pretraining-mix           # what the pretraining mix saves
python -m flows.study pairs                     # all pairs of a prompt together, or shuffled
python -m flows.study comparisons               # reward model against the number of rankings
python -m flows.study rounds                    # rankings of the newest policy's replies, or as many in one round

Every variant is a lineage of its own in a copy below .lineage/variants/, so that a study that is stopped goes on where
it was, and what variants share is computed once. Choices are made on the validation split; `seeds`, `controls` and
`rounds` alone read the test split. `rounds` begins with the default pipeline's pretrained model, whose seed stays:
python -m flows.lineage --until pretrain. Results: .lineage/studies/<name>/.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import flow

from components.pipelines import DEFAULT
from flows.checks import check
from flows.command import assignment, run_flow
from flows.parent_run import tracking
from flows.run import run_pipeline

NO_STOPS = {"kl_per_reply": 1e9, "entropy_share": 0.0, "distinct_2_share": 0.0, "response_tokens_share": 0.0,
            "ended_share": 0.0}  # fmt: skip
# The same in every study of alignment, so that what two studies have in common comes from DVC's run cache.
ALIGNMENT_SEEDS = ("ppo.seed_offset", "dpo.seed_offset", "feedme.seed_offset")


@dataclass(frozen=True)
class Study:
    """Variants by name, as overrides; the stage they run to; the parameters that take the seeds 0, 1, 2, ...

    `until` has the stage of each variant where they end with different ones.
    """

    variants: Mapping[str, Mapping[str, Any]]
    until: str | Mapping[str, str]
    seeds: tuple[str, ...]
    split: str = "validation"
    pipeline: str = DEFAULT

    def end(self, variant: str) -> str:
        """The stage whose figures are a variant's."""
        return self.until if isinstance(self.until, str) else self.until[variant]


ROUNDS = {"1 round": "evaluate-1", "2 rounds": "evaluate-2", "3 rounds": "evaluate-3", "all in one": "evaluate-once"}
STILL = 1e-12  # a learning rate at which nothing moves
STUDIES = {
    "seeds": Study({"whole lineage": {}}, "evaluate", ("seed",), split="test"),
    "controls": Study(
        {
            "random labels": {"compare.labeler.agreement": 0.5001},
            "no update": {
                "pretrain.optimizer.learning_rate": STILL, "pretrain.optimizer.matrix_learning_rate": STILL,
                "sft.optimizer.learning_rate": STILL, "sft.optimizer.matrix_learning_rate": STILL,
                "pretrain.max_steps": 50, "sft.max_steps": 50, "ppo.iterations": 6, "ppo.stops": NO_STOPS,
                "dpo.optimizer.learning_rate": STILL, "feedme.optimizer.learning_rate": STILL,
                "reward.optimizer.learning_rate": STILL, "ppo.policy.learning_rate": STILL,
            },
        },
        "evaluate", ("seed",), split="test",
    ),
    "sizes": Study(
        # About as many multiplications a step as the default.
        {shape: {"model.shape": shape} for shape in ("3x152x2", "4x128x2", "5x112x2")}, "pretrain", ("seed",)
    ),
    "rates": Study(
        {
            f"{adamw}, {muon}": {"pretrain.optimizer.learning_rate": adamw,
                                 "pretrain.optimizer.matrix_learning_rate": muon}
            for adamw, muon in ((0.006, 0.014), (0.003, 0.014), (0.012, 0.014), (0.006, 0.007), (0.006, 0.028))
        },
        "pretrain", ("seed",),
    ),
    "frontier": Study(
        {
            "0.2": {"ppo.kl_coef": 0.2},
            "0.1": {"ppo.kl_coef": 0.1},
            "0.05": {"ppo.kl_coef": 0.05},
            "0": {"ppo.kl_coef": 0.0, "ppo.stops": NO_STOPS},
            # Nothing holds it back, for four times as long: what is left of the reward model's promise then.
            "0, without mix, 4 times as long": {
                "ppo.kl_coef": 0.0, "ppo.stops": NO_STOPS, "ppo.iterations": 128,
                "ppo.pretraining_mix": {"kind": "coefficient", "value": 0.0},
            },
        },
        "evaluate", ALIGNMENT_SEEDS,
    ),
    "methods": Study(
        {
            "ppo": {},
            "grpo": {"ppo.algorithm": {"kind": "grpo", "replies_per_prompt": 4}},
            "rloo": {"ppo.algorithm": {"kind": "rloo", "replies_per_prompt": 4}},
        },
        "evaluate", ALIGNMENT_SEEDS,
    ),
    "pretraining-mix": Study(
        {f"{v}": {"ppo.pretraining_mix": {"kind": "coefficient", "value": v}} for v in (0.0, 0.5)}, "evaluate",
        ALIGNMENT_SEEDS,
    ),
    "pairs": Study(
        {
            "ranking": {},
            "shuffled pairs": {"reward.objective": {"kind": "pairwise", "margin": 0.0},
                               "reward.prompts_per_batch": 180},
            "best of K": {"reward.objective": {"kind": "best_of_k"}},
        },
        "reward", ("reward.seed_offset",),
    ),
    "comparisons": Study(
        {f"{n}": {"compare.num_prompts": n} for n in (300, 600, 1200, 2200)}, "reward", ("reward.seed_offset",)
    ),
    "rounds": Study({name: {} for name in ROUNDS}, ROUNDS, ("seed",), split="test", pipeline="iterated"),
}  # fmt: skip


@flow(name="study", description="Variants and seeds of the same stages, compared.")
def study(
    name: str, seeds: int = 3, preset: str = "default", overrides: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Bring every variant of a study up to date, with overrides for all of them; what DVC did with its last stage."""
    chosen = STUDIES[name]
    common = {"evaluate.split": chosen.split} | dict(overrides or {})
    outcomes: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        for variant, changes in chosen.variants.items():
            values = {**common, **changes, **dict.fromkeys(chosen.seeds, seed)}
            end = chosen.end(variant)
            done = run_pipeline(preset, values, pipeline=chosen.pipeline, until=end)
            outcomes[f"{variant}, seed {seed}"] = done[end]
            artifacts = check(preset, values, pipeline=chosen.pipeline, until=end).artifacts
            figures = json.loads((artifacts / end / "metrics.json").read_text())
            rows.append({"variant": variant, "seed": seed, "figures": figures})
    out = Path(".lineage/studies") / name
    out.mkdir(parents=True, exist_ok=True)
    (out / "rows.json").write_text(json.dumps(rows, indent=1) + "\n")
    from components.evaluation.study import write_study  # noqa: PLC0415 (pandas, which no other flow needs)

    print(write_study(name, rows, out))
    tracking().store.log_study(name, out, {"seeds": seeds, "preset": preset} | common)
    return outcomes


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=STUDIES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--preset", default="default")
    parser.add_argument(
        "--set", action="append", default=[], type=assignment, metavar="SECTION.KEY=VALUE",
        help="a value that holds in every variant, such as compute.precision=32-true; may be repeated",
    )  # fmt: skip
    arguments = parser.parse_args()
    if arguments.seeds < 1:
        sys.exit("--seeds must be 1 or more")
    run_flow(study, name=arguments.name, seeds=arguments.seeds, preset=arguments.preset, overrides=dict(arguments.set))


if __name__ == "__main__":
    main()

"""The study of rounds: what each round's rankings are of, how many there are, and which conversations judge."""

import json
import re
import shutil

import pytest
import yaml

from components.pipelines import open_pipeline
from tests.contracts.imports import ROOT
from tests.flows.repository import TINY, edited, make_repository

ROUNDS, PROMPTS = ("1", "2", "3"), 24
VARIANTS = {"1 round": "1", "2 rounds": "2", "3 rounds": "3", "all in one": "once"}
PROBE = {"num_prompts": 40, "test_fraction": 0.5, "validation_fraction": 0.2}
STUDY = ("python", "-m", "flows.study", "rounds", "--seeds", "1")


def test_each_round_ranks_replies_of_the_policy_before_it_and_learns_from_all_so_far():
    pipeline = open_pipeline("iterated", ROOT)
    policies = [list(pipeline.inputs(f"compare-{name}")["policy"]) for name in (*ROUNDS, "once")]
    assert policies == [["sft"], ["ppo-1"], ["ppo-2"], ["sft"]]
    learnt = {name: {*pipeline.inputs(f"reward-{name}")["train"], *pipeline.inputs(f"reward-{name}")["earlier"]}
              for name in (*ROUNDS, "once")}  # fmt: skip
    assert learnt == {"1": {"compare-1"}, "2": {"compare-1", "compare-2"}, "3": {f"compare-{k}" for k in ROUNDS},
                      "once": {"compare-once"}}  # fmt: skip
    for name in (*ROUNDS, "once"):
        assert list(pipeline.inputs(f"probe-{name}")["policy"]) == [f"ppo-{name}"]
        assert list(pipeline.inputs(f"evaluate-{name}")["test"]) == [f"probe-{name}"]
        assert list(pipeline.inputs(f"ppo-{name}")["policy"]) == ["sft"]
    tree = yaml.safe_load((ROOT / "pipelines/iterated/params.yaml").read_text())
    assert tree["compare-once"]["num_prompts"] == len(ROUNDS) * tree["compare"]["num_prompts"]


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """A tiny repository in which the study has run: the repository, the copy that it worked in, and what it said."""
    repository = make_repository(tmp_path_factory.mktemp("iterated") / "home")
    shutil.copytree(ROOT / "pipelines/iterated", repository.root / "pipelines/iterated")
    path = repository.root / "pipelines/iterated/params.yaml"
    sections = yaml.safe_load(path.read_text())
    own = {key: value for key, value in TINY.items() if key.split(".")[0] in sections}
    own |= {"compare.num_prompts": PROMPTS, "compare.validation_fraction": 0.2, "compare.test_fraction": 0.2}
    own |= {"compare-once": {"num_prompts": 3 * PROMPTS}} | {f"probe-{name}": PROBE for name in VARIANTS.values()}
    path.write_text(edited(path.read_text(), own))
    repository.run("python", "-m", "flows.lineage", "--until", "pretrain")
    said = repository.run(*STUDY)
    (variant,) = (repository.root / ".lineage/variants").glob("iterated-*")
    return repository, variant / "artifacts/iterated", said


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def compared(artifacts, node, *splits):
    return [row for split in splits for row in rows(artifacts / node / f"{split}.jsonl")]


@pytest.mark.slow
def test_the_table_has_each_round_and_the_one_with_all_rankings(studied):
    repository, artifacts, said = studied
    told = json.loads((repository.root / ".lineage/studies/rounds/rows.json").read_text())
    assert [row["variant"] for row in told] == list(VARIANTS)
    for row in told:
        name = VARIANTS[row["variant"]]
        assert row["figures"] == json.loads((artifacts / f"evaluate-{name}/metrics.json").read_text())
        assert {"pair_accuracy", "share_of_ceiling"} <= row["figures"][f"reward-{name}"].keys()
        assert row["variant"] in said and f"{row['figures'][f'ppo-{name}']['gold_win_rate']:.4f}" in said
    assert "reward.pair_accuracy" in said and "ppo.gold_win_rate" in said


@pytest.mark.slow
def test_as_many_rankings_of_the_same_prompts_in_one_round_as_in_three(studied):
    _, artifacts, _ = studied
    every = ("train", "validation", "test")
    asked = [{row["id"] for row in compared(artifacts, f"compare-{k}", *every)} for k in ROUNDS]
    assert [len(ids) for ids in asked] == [PROMPTS] * 3 and len(set.union(*asked)) == 3 * PROMPTS
    assert {row["id"] for row in compared(artifacts, "compare-once", *every)} == set.union(*asked)
    trained = [{row["id"] for row in compared(artifacts, f"compare-{k}", "train")} for k in (*ROUNDS, "once")]
    assert trained[3] == set.union(*trained[:3])
    for name, sources in (("3", [f"compare-{k}" for k in ROUNDS]), ("once", ["compare-once"])):
        figures = json.loads((artifacts / f"reward-{name}/metrics.json").read_text())
        ranked = sum(len(compared(artifacts, node, "train")) for node in sources)
        assert figures["steps"] == (ranked - figures["dropped"]["comparisons_tied"]) // TINY["reward.prompts_per_batch"]


@pytest.mark.slow
def test_what_judges_is_of_conversations_that_nothing_trains_on(studied):
    _, artifacts, _ = studied
    trained = {row["group"] for k in (*ROUNDS, "once") for row in compared(artifacts, f"compare-{k}", "train")}
    for name in (*ROUNDS, "once"):
        judged = {row["group"] for row in compared(artifacts, f"probe-{name}", "test")}
        chosen_on = {row["group"] for row in compared(artifacts, f"compare-{name}", "validation", "test")}
        assert judged and not judged & trained and not chosen_on & trained


def table(text):
    return [line for line in text.splitlines() if re.search(r" (reward|ppo)\.", line)]


@pytest.mark.slow
def test_the_same_study_again_has_nothing_to_do(studied):
    repository, _, said = studied
    again = repository.run(*STUDY)
    first, second = (table(text) for text in (said, again))
    assert "Running stage" not in again and len(first) > 40 and first == second

"""What a person sees at the terminal: plans, and results within 80 columns."""

import json
import shutil
from pathlib import Path

import networkx
import pytest

from components import params as parameters
from components.pipelines import open_pipeline
from flows.lineage import lineage
from flows.plan import reasons
from flows.server import addresses
from flows.summary import print_summary as summary
from flows.workspace import Workspace
from tests.contracts.imports import ROOT

PIPELINE = open_pipeline(root=ROOT)
STAGES = tuple(PIPELINE.nodes)
SHARES = {"win_rate": 0.5, "win_rate_low": 0.25, "win_rate_high": 0.75}
OWN = {f"{by}_{name}": value for by in ("gold", "typicality") for name, value in SHARES.items()}
OWN |= {"ended_share": 0.96, "kl": 1.5, "pretrain_loss_increase": -0.01}
METRICS = {
    "prompts": 16, "seed": 1337, "referees": ["gold", "typicality"], "pretrain": {"bits_per_byte": 1.5},
    "sft": {"validation_loss_ratio": 0.9, "ended_share": 0.9},
    "reward": {"pair_accuracy": 0.71, "pair_accuracy_low": 0.69, "pair_accuracy_high": 0.73, "share_of_ceiling": 0.5},
    "ppo": OWN, "dpo": OWN, "feedme": OWN,
}  # fmt: skip
TEXT = "[INST] hi [/INST] [bold] :smile: \x1b[2J " + "many words " * 30


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A repository where every stage has run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    for stage in STAGES:
        (tmp_path / "artifacts" / stage).mkdir(parents=True)
        record = {"stage": stage, "run_id": "1", "model_name": f"gpt-{stage}", "model_version": "3",
                  "tracking": "incomplete: [/tag]", "duration_seconds": 1.0, "peak_memory_gib": 1.0}  # fmt: skip
        (tmp_path / "artifacts" / stage / "run.json").write_text(json.dumps(record))
    reply = {"reply": TEXT, "ended": True, "gold": 1.25, "typicality": 0.5}
    row = {"user": TEXT} | dict.fromkeys(("pretrain", "sft", "ppo", "dpo", "feedme"), reply)
    (tmp_path / "artifacts/evaluate/replies.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "artifacts/evaluate/metrics.json").write_text(json.dumps(METRICS))
    return tmp_path


def print_summary(outcomes):
    """The summary of a flow in the present folder."""
    summary(outcomes, Workspace(Path.cwd(), Path.cwd(), parameters.read_tree(), PIPELINE))


def test_text_of_users_is_printed_as_it_is(finished, capsys):
    print_summary(dict.fromkeys(STAGES, "Cached"))
    shown = capsys.readouterr().out
    assert shown.count("[INST] hi [/INST] [bold] :smile:") == 6
    assert "\x1b[2J" not in shown and "incomplete: [/tag]" in shown


def test_the_summary_fits_80_columns_with_gates_passed_and_failed(finished, capsys):
    print_summary(dict.fromkeys(STAGES, "Cached"))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    shown = "\n".join(lines)
    assert "50.0% [25.0%, 75.0%]" in shown and "(1.25)" in shown
    assert "│ gate of pretrain " in shown and " passed " in shown
    assert "reward.share_of_ceiling" in shown.split("gate of reward")[1]


def test_the_command_to_talk_names_what_was_made(finished, capsys):
    print_summary(dict.fromkeys(STAGES, "Cached"))
    assert capsys.readouterr().out.splitlines().count("Talk to it:  make chat") == 1
    print_summary({"pretrain": "Completed", "sft": "Completed"})
    assert "make chat ARGS='--model models:/gpt-sft/3'" in capsys.readouterr().out
    variant = next((finished / "artifacts").parent.glob(".lineage/variants/*"), None)
    assert variant is None
    print_summary({"prepare": "Completed"})
    assert "make chat" not in capsys.readouterr().out


def test_a_plan_says_what_runs_and_why():
    graph = networkx.DiGraph([("prepare", "pretrain"), ("pretrain", "sft"), ("sft", "ppo"), ("prepare", "sft")])
    code = [f"components/{name}.py" for name in "abcde"]
    changed = {
        "sft": [{"changed deps": {"params.yaml": {"sft": "modified"}, **dict.fromkeys(code, "modified")}}],
    }
    values = {"sft.max_steps": (4, 5), "sft.optimizer.name": ("adamw", "muon"), "ppo.kl_coef": (1, 2)}
    why = reasons(graph, ["prepare", "pretrain", "sft", "ppo"], changed, ["prepare"], values)
    assert why["prepare"] == ["runs: --force"]
    assert why["pretrain"] == ["runs if its inputs change: prepare"]
    assert why["sft"] == [
        "runs: sft.max_steps was 4, is 5",
        "sft.optimizer.name was adamw, is muon",
        "other code: components/a.py, components/b.py, components/c.py and 2 more",
    ]
    assert why["ppo"] == ["runs if its inputs change: sft"]
    assert reasons(graph, ["pretrain"], {}, [], {}) == {"pretrain": []}
    unnamed = {"ppo": [{"changed outs": {"artifacts/ppo/model": "deleted"}}]}
    assert reasons(graph, ["ppo"], unnamed, [], {}) == {"ppo": ["runs: what it uses or makes is another"]}


def test_prefects_form_offers_presets_and_stages():
    fields = lineage.parameters.properties
    assert fields["preset"]["enum"] == ["default", "smoke"]
    until, start = (fields[name]["anyOf"][0]["enum"] for name in ("until", "from_stage"))
    assert until == start and len(set(until)) == len(until)
    assert until[: len(STAGES) + 1] == ["ingest", *STAGES]  # the default pipeline's first, then those of the others
    assert {"adopt", "gather-1", "ppo-3", "evaluate-3", "probe-1", "ppo-once"} <= set(until)
    assert fields["overrides"]["anyOf"][0]["type"] == "object"
    assert all(
        fields[name]["description"] for name in ("preset", "overrides", "until", "from_stage", "force", "at_once")
    )
    assert fields["at_once"]["minimum"] == 1


def test_addresses_of_pages_that_never_ran_are_none(tmp_path):
    assert addresses(tmp_path) == {}
    (tmp_path / "ui.json").write_text("{")
    assert addresses(tmp_path) == {}

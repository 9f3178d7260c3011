"""The benchmark suite: sides take turns in processes of their own, ratios are within a round, what breaks is named."""

import ast
import json

from benchmarks import cases, machine
from benchmarks.cases import Case, Goal
from benchmarks.harness import Rates, Side, compete, ratio
from benchmarks.report import Row, kept, rows_of, table, write
from tests.contracts.imports import ROOT

TINY = {"layers": 1, "width": 16, "heads": 2, "context": 16, "vocabulary": 50}
GENERATION = TINY | {"batch": 2, "prompt": 3, "new": 4, "steps": 1, "precision": "32-true"}


def rates(name, *values, trouble=""):
    return Rates(Side(name, "module"), list(values), trouble=trouble)


def case(*goals, peers=("a", "b")):
    return Case("name", "tokens/s", Side("ours", "o"), tuple(Side(p, "p") for p in peers), goals)


def test_sides_run_in_turn_and_one_that_breaks_is_named_while_the_others_go_on(tmp_path):
    able = Side("able", "ours_generate", GENERATION)
    broken = Side("broken", "ours_generate", GENERATION | {"new": 99})  # more than the context holds
    absent = Side("absent", "no_such_side", {})
    results = compete([able, broken, absent], tmp_path, rounds=2)
    assert len(results[0].rates) == 2 and min(results[0].rates) > 0 and results[0].peak_gib > 0
    assert results[0].trouble == ""
    assert "exceed the context of 16" in results[1].trouble and not results[1].rates
    assert "no_such_side" in results[2].trouble


def test_a_setting_far_behind_another_is_left_out_unless_it_is_asked_for(tmp_path):
    fast = GENERATION | {"batch": 64}
    sides = [Side("ours", "ours_generate", GENERATION), Side("slow", "ours_generate", GENERATION)]
    sides += [Side("asked for", "ours_generate", GENERATION), Side("fast", "ours_generate", fast)]
    results = compete(sides, tmp_path, rounds=1, always=("asked for",))
    assert [len(result.rates) for result in results] == [1, 0, 1, 1]
    assert results[1].trial < results[3].trial


def test_a_ratio_is_the_median_of_those_within_each_round():
    middle, low, high = ratio(rates("ours", 10.0, 30.0, 20.0), rates("peer", 5.0, 10.0, 20.0))
    assert (middle, low, high) == (2.0, 1.0, 3.0)


def test_a_goal_is_held_against_the_fastest_setting_of_the_peer():
    goal = Goal("peer at its best", ("a", "b"), 2.0)
    (row,) = rows_of(case(goal), [rates("ours", 30.0, 30.0), rates("a", 10.0, 10.0), rates("b", 20.0, 20.0)])
    assert row.ratio == 1.5 and row.theirs == 20.0 and row.met is False and "(b)" in row.peer
    (row,) = rows_of(case(goal), [rates("ours", 30.0), rates("a", 10.0), rates("b", trouble="no bf16 here")])
    assert row.ratio == 3.0 and row.met is True and "no bf16 here" in row.trouble
    assert "met; b: no bf16 here" in table([row])


def test_a_broken_side_of_ours_is_no_verdict():
    (row,) = rows_of(case(Goal("peer", ("a",), 2.0)), [rates("ours", trouble="boom"), rates("a", 1.0)])
    assert row.met is None and row.ours is None and "broken: ours: boom" in table([row])


def test_results_are_written_as_json_table_and_plot(tmp_path):
    row = Row("x", "tokens/s", 30.0, ">= 2 x peer", False, "peer (a)", 20.0, 1.5, (1.4, 1.6))
    alone = Row("y", "s", None, "<= 4 s", None, note="no peer given")
    write([row, alone], {"cores": 2}, tmp_path, "this")
    content = json.loads((tmp_path / "this.json").read_text())
    assert content["machine"] == {"cores": 2} and content["rows"][0]["ratio"] == 1.5
    assert (
        "| x | 30 tokens/s | peer (a): 20 | 1.50 (1.40 to 1.60) | >= 2 x peer | **missed** |"
        in (tmp_path / "this.md").read_text()
    )
    assert (tmp_path / "this.png").stat().st_size > 1000


def test_groups_that_are_not_run_again_keep_their_rows_on_the_same_machine(tmp_path):
    rows = [Row(name, "s", 1.0, "<= 4 s", True, spread=(1.0, 2.0), group=name) for name in ("a", "b")]
    write(rows, {"processor": "this"}, tmp_path, "this")
    assert [row.name for row in kept(tmp_path, "this", ["b"])] == ["a"]
    assert kept(tmp_path, "another", ["b"]) == kept(tmp_path / "none", "this", []) == []


def test_machines_that_call_themselves_alike_differ_by_the_precision_they_are_fast_in():
    about = {"processor": "Intel(R) Xeon(R) Processor", "cores": 2, "accelerator": None, "fp32_gflops": 273}
    assert machine.name(about | {"bf16_gflops": 59}) == "intel-xeon-processor-2-cores-fp32"
    assert machine.name(about | {"bf16_gflops": 505}) == "intel-xeon-processor-2-cores-bf16"
    assert machine.name(about | {"bf16_gflops": 505, "accelerator": "H100 80GB"}).endswith("-h100-80gb-bf16")


def test_no_option_of_a_case_has_the_name_of_what_a_side_is_given_besides():
    found = [
        *cases.pretraining(None), *cases.pretraining(ROOT), *cases.fine_tuning(), *cases.reward_model(),
        *cases.ppo("fp32"), *cases.generation("bf16"), *cases.adopted("fp32"), *cases.preparation(),
    ]  # fmt: skip
    sides = [side for case in found for side in (case.ours, *case.peers)]
    assert len({side.module for side in sides}) > 8
    for side in sides:
        tree = ast.parse((ROOT / f"benchmarks/sides/{side.module}.py").read_text())
        (start,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "start")
        assert start.args.kwarg is not None
        assert not {argument.arg for argument in start.args.args} & set(side.options), side


def test_a_sides_memory_is_its_own_and_not_that_of_who_started_it(tmp_path):
    held = b"x" * 2**30  # more than the side needs
    (result,) = compete([Side("able", "ours_generate", GENERATION)], tmp_path, rounds=1, warm_up=False)
    assert len(held) == 2**30 and 0.1 < result.peak_gib < 1.0

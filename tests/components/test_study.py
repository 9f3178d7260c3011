"""Tables and plots of studies."""

import math

import numpy as np
import pytest
from scipy import stats

from components.evaluation.study import (
    ALIGNMENT,
    FIGURES,
    PLOTTED,
    STUDENT,
    by_method,
    by_stage,
    gates_passed,
    half_width,
    summary,
    write_study,
)


def test_intervals_are_students():
    assert half_width(np.array([1.0, 2.0, 3.0])) == pytest.approx(4.303 / math.sqrt(3))
    assert math.isnan(half_width(np.array([1.0])))
    for degrees, point in enumerate(STUDENT, start=1):
        assert point == pytest.approx(stats.t.ppf(0.975, degrees), abs=5e-4)


def test_a_summary_has_a_row_a_variant_and_figure():
    rows = [
        {"variant": v, "seed": s, "figures": {"a": {"b": x}}} for v, s, x in (("p", 0, 1), ("p", 1, 3), ("q", 0, 5))
    ]
    table = summary(rows, ["a.b"])
    assert table["variant"].tolist() == ["p", "q"]
    assert table["mean"].tolist() == [2, 5]
    assert table["seeds"].tolist() == [2, 1]


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_frontier_is_drawn_with_best_of_n(tmp_path, seeds):
    def figures(kl):
        scores = ("gold_score", "typicality_score", "reward_score")
        best = {str(n): {"kl": math.log(n) - (n - 1) / n} | dict.fromkeys(scores, n) for n in (1, 2, 4)}
        return {"ppo": dict.fromkeys(ALIGNMENT, 1.0) | {"kl": kl}, "best_of_n": best}

    rows = [
        {"variant": v, "seed": s, "figures": figures(k)} for v, k in (("0.1", 2.0), ("0.0", 9.0)) for s in range(seeds)
    ]
    text = write_study("frontier", rows, tmp_path)
    assert "ppo.gold_win_rate" in text
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "summary.csv").read_text().count("\n") == 1 + 2 * len(ALIGNMENT)


def test_every_plotted_figure_is_one_of_its_study():
    assert PLOTTED.keys() | {"frontier"} == FIGURES.keys()
    assert all(set(plotted) <= set(FIGURES[name]) for name, plotted in PLOTTED.items())


def test_methods_are_told_apart_and_best_of_n_is_among_them(tmp_path):
    def figures(score):
        aligned = {name: dict.fromkeys(ALIGNMENT, score + k) for k, name in enumerate(("ppo", "dpo", "feedme"))}
        return aligned | {"best_of_n": {"1": {"gold_score": 0.0}, "8": {"gold_score": 7.0, "kl": 1.2}}}

    rows = [
        {"variant": v, "seed": s, "figures": figures(x + s)} for v, x in (("ppo", 1.0), ("grpo", 5.0)) for s in (0, 2)
    ]
    table = summary(by_method(rows), FIGURES["methods"]).set_index(["variant", "figure"])["mean"]
    found = {variant: table[variant, "gold_score"] for variant in ("ppo", "grpo", "dpo", "feedme", "best of 8")}
    assert found == {"ppo": 2.0, "grpo": 6.0, "dpo": 3.0, "feedme": 4.0, "best of 8": 7.0}
    assert ("best of 8", "gold_win_rate") not in table.index
    assert "best of 8" in write_study("methods", rows, tmp_path)


def test_a_study_says_how_often_each_gate_was_passed(tmp_path):
    rows = [
        {"variant": "lineage", "seed": s, "figures": {"gates": {"sft": True, "ppo": passed}}}
        for s, passed in enumerate((True, False, True))
    ]
    assert "gates passed, lineage: sft 3 of 3, ppo 2 of 3" in gates_passed(rows)
    for figures in ({}, {"gates": {}}):
        assert gates_passed([{"variant": "a", "seed": 0, "figures": figures}]) == ""


def test_rounds_that_judge_different_nodes_are_told_in_one_table(tmp_path):
    rows = [
        {"variant": f"{k} rounds", "seed": s,
         "figures": {"split": "test", "sft": {}, f"reward-{k}": {"pair_accuracy": 0.6 + k / 100},
                     f"ppo-{k}": dict.fromkeys(ALIGNMENT, k + s)}}
        for s in (0, 2) for k in (1, 3)
    ]  # fmt: skip
    text = write_study("rounds", rows, tmp_path)
    table = summary(by_stage(rows), FIGURES["rounds"]).set_index(["variant", "figure"])["mean"]
    assert table["3 rounds", "reward.pair_accuracy"] == pytest.approx(0.63) and "reward.pair_accuracy" in text
    assert (table["1 rounds", "ppo.kl"], table["3 rounds", "ppo.kl"]) == (2.0, 4.0)

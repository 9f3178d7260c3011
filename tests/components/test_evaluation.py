"""Intervals, win rates, perplexity and gates."""

import math

import numpy as np
import pytest
import torch

from components.data.tokens import TokenFile, TokenFileWriter
from components.evaluation.intervals import bootstrap_mean, by_cluster
from components.evaluation.perplexity import token_file_bits_per_byte
from components.evaluation.replies import distinct_n, win_rate
from components.evaluation.report import headline_table
from components.figures import Headline
from components.gates import Gate, verdict


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        wins = rng.binomial(1, 0.8, 150)
        interval = bootstrap_mean(wins, np.ones(150), seed=trial)
        hits += interval.low <= 0.8 <= interval.high
    assert 0.89 <= hits / 200 <= 0.99


def test_interval_of_whole_clusters_is_wider_than_of_single_items():
    wins = np.repeat(np.random.default_rng(1).binomial(1, 0.5, 60), 5).astype(float)
    names = np.repeat(np.arange(60), 5).astype(str)
    clustered = bootstrap_mean(*by_cluster(wins.tolist(), names.tolist()), seed=0)
    single = bootstrap_mean(wins, np.ones(300), seed=0)
    assert clustered.high - clustered.low > 1.5 * (single.high - single.low)
    assert clustered.mean == pytest.approx(wins.mean())


def test_win_rate_counts_a_tie_as_half():
    assert win_rate([2, 1, 0, 5], [1, 1, 1, 4], ["a", "b", "c", "d"], seed=0).mean == 0.625


def test_distinct_2_by_hand():
    assert distinct_n(["a b a b", "a b"], 2) == pytest.approx(2 / 4)
    assert distinct_n(["a"], 2) == 0.0


def test_bits_per_byte_of_a_uniform_model_is_its_tokens_per_byte_times_log2_of_the_vocabulary(tmp_path):
    writer = TokenFileWriter(tmp_path / "t.json", vocab_size=16, endoftext=0)
    writer.extend(["x" * 50], [list(range(1, 10)) * 4])
    writer.close()
    tokens = TokenFile(tmp_path / "t.json", context_length=4)
    bits = token_file_bits_per_byte(lambda windows: torch.tensor(math.log(16)), tokens, batch_size=3)
    assert bits == pytest.approx(37 * 4 / 50)


@pytest.mark.parametrize(
    ("value", "passes"), [(0.8, True), (0.79, False), (float("nan"), False), ("high", False), (None, False)]
)
def test_gate_passes_only_on_a_number_within_its_bound(value, passes):
    gate = Gate(metric="ppo.gold_win_rate", minimum=0.8)
    assert verdict((gate,), {"ppo": {"gold_win_rate": value}}).passed == passes


def test_gate_says_what_failed():
    gates = (Gate(metric="ppo.kl", maximum=1.0), Gate(metric="sft.ended_share", minimum=2.0))
    assert verdict(gates, {"ppo": {"kl": 1.5}}).failed == ("ppo.kl 1.5 is above 1", "sft.ended_share is missing")
    with pytest.raises(ValueError, match="minimum or a maximum"):
        Gate(metric="ppo.kl", minimum=1.0, maximum=2.0)


def test_what_the_data_cannot_judge_is_left_out_and_said():
    gates = (Gate(metric="ppo.gold_win_rate_low", minimum=0.5), Gate(metric="ppo.ended_share", minimum=0.9))
    unknown = {"gold": "the labeler is a file"}
    found = verdict(gates, {"left_out": unknown, "ppo": {"ended_share": 0.95}})
    assert found.passed and found.left_out == ("ppo.gold_win_rate_low: the labeler is a file",)
    assert "the labeler is a file" in str(found)
    assert not verdict(gates, {"left_out": unknown, "ppo": {"ended_share": 0.85}}).passed


def test_bounds_of_another_kind_of_labeler_are_not_asked():
    gates = (Gate(metric="ppo.gold_win_rate_low", minimum=0.5), Gate(metric="ppo.judge_win_rate_low", minimum=0.5))
    found = verdict(gates, {"inapplicable": ["judge"], "ppo": {"gold_win_rate_low": 0.6}})
    assert found.passed and not found.left_out
    assert not verdict(gates, {"inapplicable": ["judge"], "ppo": {"gold_win_rate_low": 0.4}}).passed


def test_a_gate_of_which_nothing_can_be_judged_stays_closed():
    gates = (Gate(metric="ppo.gold_win_rate_low", minimum=0.5),)
    assert not verdict(gates, {"left_out": {"gold": "nobody knows"}, "ppo": {}}).passed


@pytest.mark.parametrize(("clusters", "low"), [(1, 0.0), (20, 0.85), (300, 0.99)])
def test_no_interval_is_narrower_than_its_clusters_allow(clusters, low):
    """All won: the bootstrap alone would say [1, 1], and one conversation would open a gate."""
    interval = bootstrap_mean(np.full(clusters, 4.0), np.full(clusters, 4.0), seed=0)
    assert interval == (1.0, pytest.approx(low), 1.0)
    lost = bootstrap_mean(np.zeros(clusters), np.full(clusters, 4.0), seed=0)
    assert lost == (0.0, 0.0, pytest.approx(1 - low))


def test_the_report_has_a_headline_of_a_file_of_items_with_its_interval():
    figures = {"seed": 1, "precision": "32-true", "split": "test", "left_out": {},
               "told": {"kl": 0.5, "sst2": {"accuracy": 0.75, "accuracy_low": 0.7, "accuracy_high": 0.8}}}  # fmt: skip
    lines = [
        Headline("told.sst2.accuracy", "accuracy"),
        Headline("told.kl", "KL"),
        Headline("other.kl", "KL of another"),
    ]
    rows = headline_table(figures, lines).values.tolist()
    assert rows[1:] == [["accuracy", "0.750 [0.700, 0.800]"], ["KL", "0.500"]]

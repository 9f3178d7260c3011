"""The gold function and the simulated labeler."""

import itertools
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from components.labeling.gold import Gold
from components.labeling.simulated import LabelerModel, calibrate, pair_differences
from tests.contracts.imports import ROOT


@pytest.fixture(scope="module")
def gold():
    return Gold(["i like dogs and cats", "i like the sea", "dogs are nice", "the sea is wide"])


def test_each_part_rewards_what_it_is_named_for(gold):
    user = "do you like dogs?"
    best = gold.parts(user, "I love dogs, they are wonderful friends!")
    assert best["friendliness"] > gold.parts(user, "I hate dogs, they are terrible beasts!")["friendliness"]
    assert best["relevance"] > gold.parts(user, "I love boats, they are wonderful things!")["relevance"]
    assert (best["ending"], gold.parts(user, "and then")["ending"]) == (1.0, 0.0)
    assert best["length"] == 1.0 and gold.parts(user, "Yes.")["length"] == 0.2
    assert gold.parts(user, "word " * 40)["length"] == pytest.approx(10 / 25)
    assert gold.parts(user, "so so so so so")["freshness"] == pytest.approx(1 / 4)
    assert gold.score(user, "...") == 0.0


def test_relevance_weighs_words_by_inverse_document_frequency(gold):
    assert gold.rarity("dogs") == pytest.approx(math.log(5 / 3))
    assert gold.rarity("unheard") == pytest.approx(math.log(5))
    # of "unheard dogs", "dogs" is log(5/3) of log(5/3) + log(5); half of the weight already scores 1
    expected = 2 * math.log(5 / 3) / (math.log(5 / 3) + math.log(5))
    assert gold.parts("unheard dogs", "dogs it is")["relevance"] == pytest.approx(expected)


def test_calibrated_labelers_agree_as_often_as_asked_when_two_of_them_rank():
    rng = np.random.default_rng(0)
    golds = [rng.normal(size=4) for _ in range(3000)]
    model = calibrate(golds, agreement=0.73, tie_margin=0.05)
    agree = total = right = decided = 0
    for scores in golds:
        first, second = model.rank(scores, rng), model.rank(scores, rng)
        for i, j in itertools.combinations(range(4), 2):
            a, b = first[i] - first[j], second[i] - second[j]
            if a and b:
                agree, total = agree + (a * b > 0), total + 1
            if a:
                right, decided = right + ((a < 0) == (scores[i] > scores[j])), decided + 1
    assert agree / total == pytest.approx(0.73, abs=0.015)
    assert right / decided == pytest.approx(model.ceiling(pair_differences(golds)), abs=0.015)


def test_ranks_are_best_first_and_ties_share_a_rank():
    quiet = LabelerModel(noise=1e-9, tie_margin=0.1)
    assert quiet.rank(np.array([0.0, 3.0, 2.95, 1.0]), np.random.default_rng(0)) == [4, 1, 1, 3]


def test_replies_that_all_score_alike_cannot_be_ranked():
    with pytest.raises(ValueError, match="nothing to rank"):
        calibrate([np.ones(4)], agreement=0.73, tie_margin=0.05)


SCORES = """
from components.labeling.gold import Gold
words = [f"word{i}" for i in range(40)]
gold = Gold(" ".join(words[first:]) for first in range(40))  # every word has a rarity of its own
print([repr(gold.score(" ".join(words), " ".join(words[first::7]))) for first in range(7)])
"""


def test_a_score_is_the_same_to_the_last_bit_in_every_process():
    found = {
        subprocess.run(
            [sys.executable, "-c", SCORES], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": str(seed)},
            check=True, capture_output=True, text=True,
        ).stdout
        for seed in range(5)
    }  # fmt: skip
    assert len(found) == 1

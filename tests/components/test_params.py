"""params.yaml and its loader."""

import pytest

from components import params as parameters
from tests.contracts.imports import ROOT


@pytest.fixture
def tree():
    return parameters.read_tree(ROOT / "params.yaml")


def test_the_shipped_file_and_all_its_presets_load(tree):
    for changes in tree["presets"].values():
        parameters.check(parameters.override(tree, changes), source="preset")


def test_all_problems_are_listed_at_once(tree):
    tree["ppo"]["kl_coeff"] = 0.1  # unknown
    del tree["sft"]["max_steps"]  # missing
    tree["pretrain"]["batch_size"] = "many"  # ill-typed
    tree["compare"]["replies_per_prompt"] = 10  # out of range
    with pytest.raises(parameters.ParamsError) as caught:
        parameters.check(tree, source="test")
    for key in ("ppo.kl_coeff", "sft.max_steps", "pretrain.batch_size", "compare.replies_per_prompt", "4 problem"):
        assert key in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ppo.minibatch_size": 48}, "multiple of minibatch_size"),
        ({"pretrain.optimizer.name": "adamw"}, "matrix_learning_rate"),
        ({"generation.max_new_tokens": 100}, "context_length"),
        ({"model.size": "gpt5"}, "gpt2-124M"),
        ({"model.size": "2x100x3"}, "does not divide"),
        ({"prepare.validation_fraction": 0.95}, "nothing to train on"),
    ],
)
def test_contradictions_are_refused(tree, changes, words):
    with pytest.raises(parameters.ParamsError, match=words):
        parameters.check(parameters.override(tree, changes), source="test")


def test_override_names_every_unknown_key_and_leaves_the_tree_alone(tree):
    before = parameters.check(tree, source="test")
    with pytest.raises(parameters.ParamsError, match=r"ppo\.nope, sft\.optimizer\.nope"):
        parameters.override(tree, {"ppo.nope": 1, "sft.optimizer.nope": 2, "seed": 3})
    assert parameters.check(tree, source="test") == before


def test_parameters_are_frozen(tree):
    with pytest.raises(AttributeError):
        parameters.check(tree, source="test").ppo.kl_coef = 1.0


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(parameters.ParamsError, match="root of the repository"):
        parameters.load(tmp_path / "params.yaml")

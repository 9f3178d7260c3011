"""params.yaml and its loader."""

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from components import params as parameters
from components.pipelines import open_pipeline
from flows import command
from tests.contracts.imports import ROOT

PIPELINE = open_pipeline(root=ROOT)


def check(tree, source="test"):
    return parameters.check(tree, PIPELINE, source=source)


def load(path):
    """The parameters of the default pipeline with the file at a path."""
    return check(parameters.read_tree(path), str(path))


@pytest.fixture
def tree():
    return parameters.read_tree(ROOT / "params.yaml")


def test_the_shipped_file_and_all_its_presets_load(tree):
    for changes in tree["presets"].values():
        check(parameters.override(tree, changes))


def test_all_problems_are_listed_at_once(tree):
    tree["ppo"]["kl_coeff"] = 0.1  # unknown
    del tree["sft"]["max_steps"]  # missing
    tree["pretrain"]["batch_size"] = "many"  # ill-typed
    tree["compare"]["replies_per_prompt"] = 10  # out of range
    with pytest.raises(parameters.ParamsError) as caught:
        check(tree)
    for key in ("ppo.kl_coeff", "sft.max_steps", "pretrain.batch_size", "compare.replies_per_prompt", "4 problem"):
        assert key in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ppo.minibatch_size": 48}, "multiple of minibatch_size"),
        ({"pretrain.optimizer.name": "adamw"}, "matrix_learning_rate"),
        ({"generation.max_new_tokens": 100}, "context_length"),
        ({"model.shape": "gpt5"}, "gpt2-124M"),
        ({"model.shape": "2x100x3"}, "does not divide"),
        ({"prepare.validation_fraction": 0.95}, "nothing to train on"),
    ],
)
def test_contradictions_are_refused(tree, changes, words):
    with pytest.raises(parameters.ParamsError, match=words):
        check(parameters.override(tree, changes))


def test_override_names_every_unknown_key_and_leaves_the_tree_alone(tree):
    before = check(tree)
    with pytest.raises(parameters.ParamsError, match=r"ppo\.nope, sft\.optimizer\.nope"):
        parameters.override(tree, {"ppo.nope": 1, "sft.optimizer.nope": 2, "seed": 3})
    assert check(tree) == before


def test_parameters_are_frozen(tree):
    with pytest.raises(AttributeError):
        check(tree).sections["ppo"].kl_coef = 1.0


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(parameters.ParamsError, match="root of the repository"):
        load(tmp_path / "params.yaml")


def messages(tree, **changes):
    """What the check says of a tree with some values replaced; empty if nothing."""
    try:
        check(parameters.override(tree, {k.replace("__", "."): v for k, v in changes.items()}))
    except parameters.ParamsError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "text",
    ["1e-4", "1E5", "-1e+3", "1.5", ".5", "5.", "3", "-3", "true", "false", "null", "~", "x", "yes", "'1e-4'", "1.5e-3",
     "{kind: grpo, replies_per_prompt: 4}", "[1e-4, 2]", ".inf"],
)  # fmt: skip
def test_a_value_is_read_as_dvc_reads_it(text):
    expected = YAML(typ="safe").load(text)  # the parser that DVC reads params.yaml with
    found = parameters.parse_value(text)
    assert found == expected and type(found) is type(expected)


def test_one_times_ten_to_the_minus_four_is_a_number_wherever_it_is_written(tree, tmp_path):
    path = tmp_path / "params.yaml"
    text = (ROOT / "params.yaml").read_text()
    assert text.count("kl_coef: 0.05 ") == 1
    path.write_text(text.replace("kl_coef: 0.05 ", "kl_coef: 5e-2 "))
    assert load(path) == load(ROOT / "params.yaml")
    assert not messages(tree, ppo__kl_coef=parameters.parse_value("1e-4"))


def test_a_tree_that_is_written_reads_back_as_it_was_for_us_and_for_dvc(tmp_path):
    values = [1e-4, 1e-5, 1e22, 5e-324, -0.0, 16, "1e-4", "yes", "010", "0o10", "1:30", "2024-01-01", "~", "", "true",
              "<<", "1_000", "0x1F", "ü # [/INST]", "\n", " x", True, None, [1e-7, "1e-7"], {}]  # fmt: skip
    tree = {"z": {f"k{number}": value for number, value in enumerate(values)}, "a": 1}
    path = tmp_path / "params.yaml"
    parameters.write_tree(tree, path)
    for found in (parameters.read_tree(path), YAML(typ="safe").load(path.read_text())):
        assert repr(dict(found)) == repr(tree)  # the order, and 1e-4 is not "1e-4"


@pytest.mark.parametrize(
    "text",
    ["{a: 1, a: 2}", "a: [", "[/INST", "*a", "!!python/object:os.system x", "\x00", "a: b: c", "!!binary eA=="],
)
def test_a_value_that_is_no_yaml_is_one_sentence(text):
    with pytest.raises(parameters.ParamsError) as caught:
        parameters.parse_value(text)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("assignment", ["ppo.kl_coef=[", "ppo.stops={a: 1, a: 2}"])
def test_a_bad_override_on_the_command_line_is_one_sentence(assignment, capsys):
    with pytest.raises(SystemExit):
        command._parser(None).parse_args(["--set", assignment])
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert assignment.split("=")[0] in last and "is not YAML" in last
    assert "_assignment" not in last


def test_keys_that_stand_twice_are_all_named_with_their_lines(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("seed: 1\nppo:\n  kl_coef: 1\n  kl_coef: 2\nseed: 3\n")
    with pytest.raises(parameters.ParamsError) as caught:
        load(path)
    assert "kl_coef stands on line 3 and again on line 4" in str(caught.value)
    assert "seed stands on line 1 and again on line 5" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"seed: [\n", b"\xff\xfes\x00", b"- 1\n", b"", b"seed: \x00\n"])
def test_a_file_that_is_no_parameter_file_is_one_sentence_that_names_it(tmp_path, content):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(parameters.ParamsError) as caught:
        load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("key", ["ppo__kl_coef", "ppo__unended_score", "pretrain__optimizer__learning_rate", "seed",
                                 "ppo__stops__kl_per_reply"])  # fmt: skip
def test_what_is_not_finite_is_refused_by_name(tree, key, value):
    assert f"{key.replace('__', '.')}: " in messages(tree, **{key: value})


@pytest.mark.parametrize("key", ["seed", "ppo__iterations", "ppo__kl_coef", "compute__devices"])
def test_a_truth_value_is_no_number(tree, key):
    assert f"{key.replace('__', '.')}: " in messages(tree, **{key: True})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"compute__devices": 99}, "compute.devices: "),
        ({"compute__accelerator": "gpv"}, "compute.accelerator: "),
        ({"pretrain__batch_size": 10**9}, "pretrain.batch_size: "),
        ({"pretrain__batch_size": 1e9}, "pretrain.batch_size: "),
        ({"ppo__rollout_batch_size": 2**40}, "ppo.rollout_batch_size: "),
        ({"seed": 2**70}, "seed: "),
        ({"seed": -1}, "seed: "),
        ({"dpo__seed_offset": 2**70}, "dpo.seed_offset: "),
        ({"model__shape": "1000x1000000x10"}, "1.2e+16 weights"),
        ({"model__shape": "2x0x1"}, "width 0"),
        ({"limits__context_length": 10**12}, "limits.context_length: "),
        ({"pretrain__validation_batches": 10**12}, "pretrain.validation_batches: "),
        ({"pretrain__max_steps": 19}, "pretrain: optimizer.warmup_steps 20 goes on beyond the end: there are 19 steps"),
        ({"sft__optimizer__warmup_steps": 251}, "sft: optimizer.warmup_steps 251 goes on beyond the end"),
        ({"dpo__max_steps": 1}, "dpo: optimizer.warmup_steps 10"),
        ({"feedme__max_steps": 1}, "feedme: optimizer.warmup_steps 5"),
        (
            {"ppo__iterations": 4},
            "ppo: policy.warmup_steps 5 goes on beyond the end: there are 4 iterations; algorithm.",
        ),
        ({"ppo__algorithm__value_warmup": 32}, "leaves none of the 32 iterations"),
        ({"generation__temperature": 0}, "generation: temperature 0 is greedy"),
        ({"generation__temperature": -1.0}, "generation.temperature: "),
        ({"gates__ppo": [{"metric": "ppo.gold_winrate", "minimum": 0.5}]}, "no figure 'ppo.gold_winrate'"),
        ({"gates__ppo": [{"metric": "ppo.validation_loss", "minimum": 0.5}]}, "no figure 'ppo.validation_loss'"),
        ({"gates__ppo": [{"metric": "ppo.kl", "minimum": float("nan")}]}, "gates.ppo.0.minimum: "),
        ({"ppo__algorithm__discount": 2.0}, "ppo.algorithm.discount: "),
        ({"ppo__algorithm": {"kind": "grpo"}}, "ppo.algorithm.replies_per_prompt: "),
    ],
)
def test_what_no_run_could_mean_is_refused_by_name(tree, changes, words):
    assert words in messages(tree, **changes)


def test_absurd_values_are_listed_together(tree):
    found = messages(
        tree, compute__devices=99, pretrain__batch_size=10**9, seed=2**70, dpo__optimizer__warmup_steps=999,
        ppo__iterations=4,
    )  # fmt: skip
    assert "5 problem(s)" in found


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_every_seed_that_is_accepted_can_be_drawn_with_whatever_is_added_to_it(tree, seed):
    changed = parameters.override(tree, {"seed": seed, "ppo.seed_offset": seed, "dpo.seed_offset": seed})
    params = check(changed)
    total = params.shared["seed"] + params.sections["ppo"].seed_offset + 999
    torch.manual_seed(total)
    assert len(np.random.default_rng((total, 0, 1)).random(2)) == 2


def test_a_preset_with_keys_that_do_not_exist_is_refused_though_nobody_asked_for_it(tree):
    tree["presets"]["mine"] = {"ppo.kl_coeff": 1, "seed": 3, "ppo.algorithm.replies_per_prompt": 4, "sft": {}}
    tree["presets"]["other"] = {"nothing.at.all": 1}
    found = messages(tree)
    assert "presets.mine: no such parameter: ppo.kl_coeff" in found
    assert "presets.other: no such parameter: nothing.at.all" in found
    assert "2 problem(s)" in found  # grpo has the third, whatever algorithm is chosen now

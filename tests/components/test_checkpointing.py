"""Checkpoints of unfinished training and folders of finished models."""

import json

import pytest
import torch

from components.checkpoints import CheckpointError, load_gpt, load_scalar, save_model
from components.models.config import GPTConfig
from components.models.heads import ScalarGPT
from components.models.transformer import GPT
from components.training.checkpointing import DamagedCheckpoint, SafetensorsCheckpointIO, checkpoints, newest_intact
from components.training.history import History

CONFIG = GPTConfig(vocab_size=11, context_length=8, num_layers=1, width=8, num_heads=2)
IO = SafetensorsCheckpointIO()


def state(seed=0):
    torch.manual_seed(seed)
    return {
        "step": 3,
        "nested": {0: {"exp_avg": torch.randn(2, 3), "betas": (0.9, 0.95)}, "flags": [True, None, "x", 1.5]},
        "view": torch.randn(4, 4).T,
        "scalar": torch.tensor(7),
    }


def assert_equal(left, right):
    assert type(left) is type(right)
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right) and left.dtype == right.dtype
    elif isinstance(left, dict):
        assert left.keys() == right.keys()
        [assert_equal(left[key], right[key]) for key in left]
    elif isinstance(left, list | tuple):
        [assert_equal(a, b) for a, b in zip(left, right, strict=True)]
    else:
        assert left == right


def test_any_state_tree_comes_back_as_it_was(tmp_path):
    IO.save_checkpoint(state(), tmp_path / "step-00000001")
    assert_equal(IO.load_checkpoint(tmp_path / "step-00000001"), state())


def test_a_tensor_that_networks_share_is_written_once(tmp_path):
    shared, own = torch.randn(50, 50), torch.randn(50, 50)
    path = tmp_path / "step-00000001"
    IO.save_checkpoint({"policy": shared, "value": shared.detach(), "transposed": shared.T, "own": own}, path)
    assert (path / "tensors.safetensors").stat().st_size < 3.2 * 50 * 50 * 4
    assert_equal(IO.load_checkpoint(path), {"policy": shared, "value": shared, "transposed": shared.T, "own": own})


def test_what_cannot_be_stored_without_pickle_is_refused(tmp_path):
    with pytest.raises(TypeError, match="object"):
        IO.save_checkpoint({"x": object()}, tmp_path / "step-00000001")
    assert newest_intact(tmp_path) is None


def test_only_the_newest_two_are_kept(tmp_path):
    for step in (1, 2, 3):
        IO.save_checkpoint(state(step), tmp_path / f"step-{step:08d}")
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000002", "step-00000003"]


@pytest.mark.parametrize("damage", ["truncate", "flip", "no state", "another step", "not text"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, caplog, damage):
    for step in (1, 2):
        IO.save_checkpoint(state(step), tmp_path / f"step-{step:08d}")
    newest = tmp_path / "step-00000002"
    tensors = newest / "tensors.safetensors"
    content = bytearray(tensors.read_bytes())
    if damage == "truncate":
        tensors.write_bytes(content[:-8])
    elif damage == "flip":
        content[-1] ^= 1
        tensors.write_bytes(content)
    elif damage == "another step":
        saved = (newest / "state.json").read_text()
        (newest / "state.json").write_text(saved.replace('["step", 3]', '["step", 9]'))
        assert (newest / "state.json").read_text() != saved
    elif damage == "not text":
        (newest / "state.json").write_bytes(b"\xff\xfe{")
    else:
        (newest / "state.json").unlink()
    with pytest.raises(DamagedCheckpoint, match="step-00000002"):
        IO.load_checkpoint(newest)
    assert newest_intact(tmp_path) == tmp_path / "step-00000001"
    assert "step-00000002" in caplog.text


def test_a_checkpoint_whose_writing_was_cut_short_is_not_seen(tmp_path):
    IO.save_checkpoint(state(), tmp_path / "step-00000001")
    (tmp_path / "step-00000001").rename(tmp_path / "step-00000001.partial")
    assert newest_intact(tmp_path) is None


def test_model_folders_keep_weights_shape_and_tokenizer(tmp_path):
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text("{}")
    model, scalar = GPT(CONFIG), ScalarGPT(CONFIG)
    save_model(tmp_path / "gpt", model, tokenizer)
    save_model(tmp_path / "scalar", scalar, tokenizer)
    ids = torch.randint(0, 11, (2, 8))
    with torch.no_grad():
        assert torch.equal(load_gpt(tmp_path / "gpt")(ids), model.eval()(ids))
        assert torch.equal(load_scalar(tmp_path / "scalar")(ids), scalar.eval()(ids))
    assert (tmp_path / "gpt/tokenizer.json").read_text() == "{}"
    with pytest.raises(CheckpointError, match="holds no language model"):
        load_gpt(tmp_path / "scalar")
    (tmp_path / "gpt/model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="not a complete model folder"):
        load_gpt(tmp_path / "gpt")


def test_history_merges_steps_survives_a_cut_line_and_forgets_what_will_be_repeated(tmp_path):
    history = History(tmp_path / "history.jsonl")
    for step in (1, 2, 3):
        history.append(step, {"loss": step / 10})
    history.append(2, {"validation": 5.0})
    with history.path.open("a") as out:
        out.write(json.dumps({"step": 4, "loss": 1})[:-3])
    history.truncate(2)
    history.export(tmp_path / "history.csv")
    assert (tmp_path / "history.csv").read_text() == "step,loss,validation\n1,0.1,\n2,0.2,5.0\n"

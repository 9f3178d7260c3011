"""Fine-tuning on chats: the loss does not depend on how rows are grouped."""

import pytest
import torch
from torch.nn import functional as F

from components.data.chat import EncodedChat
from components.data.demonstrations import pad_rows
from components.models import packed
from components.models.config import GPTConfig
from components.models.transformer import GPT
from components.runtime import StageStopped
from components.training.fit import fit
from components.training.imitation import ImitationModule
from tests.components.alignment import make_stage


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    stage = make_stage(tmp_path, "sft")
    lengths = torch.randint(3, 21, (13,)).tolist()
    ids = [torch.randint(1, 31, (length,)).tolist() for length in lengths]
    rows = pad_rows([EncodedChat(i, [place % 3 > 0 for place in range(len(i))]) for i in ids], pad_id=0, width=21)
    model = GPT(GPTConfig(vocab_size=31, context_length=20, num_layers=2, width=16, num_heads=2))
    return ImitationModule(stage, model, train=rows, validation=rows)


@pytest.mark.parametrize("together", [1, 40, 2048])
def test_the_loss_without_padding_is_that_of_the_padded_batch(module, monkeypatch, together):
    monkeypatch.setitem(packed.TOGETHER, "cpu", together)
    ids, mask = module.train_rows.input_ids, module.train_rows.loss_mask
    logits = module.network.logits(module.network(ids[:, :-1]))
    plain = F.cross_entropy(logits[mask[:, 1:]], ids[:, 1:][mask[:, 1:]])
    grouped = module.loss(ids, mask, mask[:, 1:].sum())
    torch.testing.assert_close(grouped, plain)
    weights = list(module.network.parameters())
    torch.testing.assert_close(torch.autograd.grad(grouped, weights), torch.autograd.grad(plain, weights))


def test_a_process_without_a_row_takes_part_with_one_that_counts_nothing(module, monkeypatch):
    monkeypatch.setattr(module, "share", lambda rows: rows[99:])
    ids, mask = module.make_batch(0)
    loss = module.loss(ids, mask, torch.tensor(5))
    assert float(loss) == 0 and not (ids[:, 1:] != module.train_rows.pad_id).any()
    assert not any(found.any() for found in torch.autograd.grad(loss, list(module.network.parameters())))


def test_a_sharded_strategy_is_lightnings_own(module, tmp_path):
    """Without a GPU the farthest that one goes: Lightning takes the name, and refuses the processor."""
    module.stage = make_stage(tmp_path, "sft", compute__strategy="fsdp", compute__devices=2, compute__accelerator="cpu")
    with pytest.raises(StageStopped, match="`fsdp` requires a GPU"):
        fit(module.stage, module, checkpoint_interval=10)

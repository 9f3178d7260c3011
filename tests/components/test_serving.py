"""What a registered model accepts, in the shapes that pyfunc and its server hand on."""

import numpy as np
import pandas as pd
import pytest
import torch

from components.checkpoints import save_model
from components.data.tokenizer import train_tokenizer
from components.models.heads import ScalarGPT
from components.models.sizes import GPTConfig
from components.models.transformer import GPT
from components.serving import ChatModel, RewardModel, _load_pyfunc

CHAT = [
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "hi"},
    {"role": "user", "content": "bye"},
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    tokenizer = train_tokenizer(["hello hi bye"] * 20, vocab_size=300)
    tokenizer.save(str(root / "tokenizer.json"))
    config = GPTConfig(tokenizer.get_vocab_size(), context_length=32, num_layers=1, width=16, num_heads=2)
    torch.manual_seed(0)
    save_model(root / "chat", GPT(config), root / "tokenizer.json")
    save_model(root / "reward", ScalarGPT(config), root / "tokenizer.json")
    return root


@pytest.mark.parametrize(
    "wrapped",
    [
        CHAT,
        {"messages": CHAT},
        [{key: np.array(value) for key, value in message.items()} for message in CHAT],  # `inputs` through the server
        [{key: np.array([value]) for key, value in message.items()} for message in CHAT],
        pd.DataFrame(CHAT),
        pd.DataFrame({"messages": [CHAT]}),
        {"messages": np.array(CHAT, dtype=object)},
        {"messages": np.array([CHAT], dtype=object)},
    ],
)
def test_every_wrapping_of_one_conversation_gets_the_same_reply(folders, wrapped):
    model = _load_pyfunc(str(folders / "chat"))
    assert isinstance(model, ChatModel)
    reply = model.predict(wrapped, params={"max_new_tokens": 6, "seed": 4})
    assert reply == model.predict(CHAT, params={"max_new_tokens": 6, "seed": 4})
    assert reply["role"] == "assistant"


def test_several_conversations_get_several_replies(folders):
    model = ChatModel(folders / "chat")
    assert len(model.predict([CHAT, CHAT[:1]])) == 2


def test_streamed_pieces_are_the_reply(folders):
    model = ChatModel(folders / "chat")
    options = {"max_new_tokens": 12, "seed": 2}
    assert "".join(model.stream(CHAT, **options)).strip() == model.predict(CHAT, params=options)["content"]


def test_a_reply_longer_than_the_context_allows_is_shortened_not_refused(folders):
    assert ChatModel(folders / "chat").predict(CHAT, params={"max_new_tokens": 500})["role"] == "assistant"


def test_rewards_are_for_the_assistants_last_message(folders):
    model = _load_pyfunc(str(folders / "reward"))
    assert isinstance(model, RewardModel)
    assert isinstance(model.predict(CHAT[:2]), float)
    with pytest.raises(ValueError, match="assistant's message"):
        model.predict(CHAT)


@pytest.mark.parametrize("wrong", ["hello", [], {"prompt": "x"}, [{"role": "user"}]])
def test_anything_else_is_refused_with_the_expected_form(folders, wrong):
    with pytest.raises(ValueError, match="expected chat messages"):
        ChatModel(folders / "chat").predict(wrong)

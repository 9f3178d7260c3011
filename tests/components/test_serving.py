"""What a registered model accepts, in the shapes that pyfunc and its server hand on."""

import itertools

import numpy as np
import pandas as pd
import pytest

from components import params as parameters
from components.mlflow_store import SAMPLING_PARAMS
from components.pipelines import open_pipeline
from components.serving import ChatModel, RewardModel, _load_pyfunc
from components.serving_input import Options, RequestError
from tests.components.chatting import CHAT, make_models
from tests.contracts.imports import ROOT


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return make_models(tmp_path_factory.mktemp("models"))


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
    assert "".join(model.stream(CHAT, Options(**options))).strip() == model.predict(CHAT, params=options)["content"]


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


def test_two_requests_without_a_seed_get_two_replies_and_a_seed_repeats_one(folders):
    model = ChatModel(folders / "chat")
    free = {model.predict(CHAT, params={"seed": None})["content"] for _ in range(4)}
    assert len(free) > 1
    assert len({model.predict(CHAT, params={"seed": 5})["content"] for _ in range(3)}) == 1


def test_temperature_zero_is_the_same_whatever_the_seed(folders):
    model = ChatModel(folders / "chat")
    replies = {model.predict(CHAT, params={"temperature": 0.0, "seed": seed})["content"] for seed in range(4)}
    assert len(replies) == 1


def test_a_version_is_served_as_the_gates_judged_it():
    generation = vars(parameters.load(open_pipeline(root=ROOT), ROOT).shared["generation"])
    carried = {spec.name: spec.default for spec in SAMPLING_PARAMS.params}
    assert carried == {**generation, "seed": None}
    assert vars(Options()) == carried


@pytest.mark.parametrize(
    ("chat", "words"),
    [
        ([{"role": "robot", "content": "x"}], "no role 'robot'"),
        ([{"role": "user", "content": ""}], "message 1: its content is empty"),
        ([{"role": "user", "content": " \n"}], "message 1: its content is empty"),
        ([{"role": "user", "content": "a\ud800b"}], "message 1: .*surrogate"),
        ([{"role": "user", "content": 3}], "a int, not text"),
        ([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], "user's message where the assistant's"),
        ([{"role": "user", "content": "a"}, {"role": "system", "content": "b"}], "system's message where"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "last message is the assistant's"),
        ([{"role": "system", "content": "a"}], "last message is the system's"),
        ([[]], "expected chat messages"),
        ([{"role": "robot", "content": ""}, {"role": "user", "content": ""}], "message 1.*; message 2"),
    ],
)
def test_a_conversation_that_cannot_be_answered_is_a_sentence(folders, chat, words):
    with pytest.raises(ValueError, match=words):
        ChatModel(folders / "chat").predict(chat)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_new_tokens": -3, "top_k": -1}, "max_new_tokens is -3.*top_k is -1"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**70}, "seed is"),
        ({"max_new_tokens": True}, "max_new_tokens is True"),
        ({"temprature": 0.5}, "no option temprature; there are max_new_tokens"),
    ],
)
def test_options_out_of_range_are_listed_in_a_sentence(folders, options, words):
    with pytest.raises(ValueError, match=words):
        ChatModel(folders / "chat").predict(CHAT, params=options)


def test_a_served_models_refusal_is_a_bad_request_and_not_a_traceback(folders):
    """What MLflow's server answers 400 to, with the message; of any other error it sends the traceback."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    for model in (ChatModel(folders / "chat"), RewardModel(folders / "reward")):
        with pytest.raises(MlflowException) as caught:
            model.predict([{"role": "robot", "content": "x"}])
        assert caught.value.get_http_status_code() == 400


def test_a_reward_for_more_than_the_model_reads_is_refused_with_the_numbers(folders):
    chat = [CHAT[0], {"role": "assistant", "content": "zq" * 40}]
    with pytest.raises(ValueError, match=r"81 tokens.*at most 29"):
        RewardModel(folders / "reward").predict(chat)


@pytest.mark.parametrize("value", list(itertools.chain(range(1, 4), (40, 2**31 - 1))))
def test_counts_within_range_are_accepted(value):
    assert Options(max_new_tokens=value).max_new_tokens == value


def test_every_fault_of_the_options_is_named_at_once():
    with pytest.raises(RequestError) as caught:
        Options(max_new_tokens=-1, temperature=-1.0, top_k=-1, top_p=-1.0, seed=-1)
    assert str(caught.value).count(" is ") == 5

"""A registered model as `mlflow.pyfunc.load_model` and `mlflow models serve` offer it: chat messages in, a reply out.

MLflow calls `_load_pyfunc` with the model's folder. Needs nothing but the requirements declared at registration. What
it accepts, and with which defaults, is in `components.serving_input`.
"""

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import TypeAdapter

from components import mlflow_store
from components.checkpoints import CheckpointError, load_classifier, load_gpt, load_scalar, load_tokenizer, model_kind
from components.data.detokenizing import Detokenizer
from components.data.sequences import pack
from components.evaluation.classes import told
from components.evaluation.items import Choice, Item
from components.evaluation.transformations import TRANSFORMATIONS, Name, encode_all
from components.losses.sampling import Sampling
from components.models.generation import sample_steps, uniforms
from components.serving_input import FORM, Message, Options, RequestError, check_messages, check_prompt


class ChatModel:
    """A language model that answers a conversation.

    Raises:
        CheckpointError: the folder holds none, or a reward model.
    """

    def __init__(self, folder: Path) -> None:
        if model_kind(folder) == "scalar_gpt":
            raise CheckpointError(
                f"{folder} holds a reward model: it scores replies and writes none. "
                "A language model is models:/gpt-ppo@candidate or artifacts/ppo/model"
            )
        self.model, self.tokenizer = load_gpt(folder), load_tokenizer(folder)

    def stream(self, messages: Sequence[Message], options: Options | None = None) -> Iterator[str]:
        """Yield the reply piece by piece; the pieces joined are the reply.

        Raises:
            RequestError: the conversation does not wait for the assistant, or is no text.
        """
        options = options or Options()
        # Leave room for what was said.
        max_new_tokens = min(options.max_new_tokens, self.model.config.context_length // 2)
        room = self.model.config.context_length - max_new_tokens
        prompt = self.tokenizer.encode_prompt(check_prompt(messages), max_tokens=room)
        seed = secrets.randbits(63) if options.seed is None else options.seed
        steps = sample_steps(
            self.model,
            [prompt],
            sampling=Sampling(options.temperature, options.top_k, options.top_p),
            uniform=uniforms(1, max_new_tokens, seed=(seed,)),
        )
        text = Detokenizer(self.tokenizer)
        for token in steps:
            if int(token) == self.tokenizer.end:
                break
            yield text.feed(int(token))
        yield text.finish()

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """The assistant's message to one conversation, or a list of them to several."""
        try:
            options = Options.of(params)
            conversations, single = _conversations(model_input)
            replies = ["".join(self.stream(chat, options)).strip() for chat in conversations]
        except ValueError as error:
            raise mlflow_store.BadRequest(str(error)) from None
        answers = [{"role": "assistant", "content": reply} for reply in replies]
        return answers[0] if single else answers


SHORTEST_PROMPT = 3  # tokens: the user's marker, one token of text, the assistant's marker


class RewardModel:
    """A reward model: scores the last message of a conversation, the assistant's, in the light of what came before."""

    def __init__(self, folder: Path) -> None:
        self.model, self.tokenizer = load_scalar(folder), load_tokenizer(folder)

    @torch.no_grad()
    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """The reward of one conversation's last message, or a list of rewards."""
        try:
            conversations, single = _conversations(model_input)
            scores = [self._score(check_messages(chat)) for chat in conversations]
        except ValueError as error:
            raise mlflow_store.BadRequest(str(error)) from None
        return scores[0] if single else scores

    def _score(self, chat: list[dict[str, str]]) -> float:
        if chat[-1]["role"] != "assistant":
            raise RequestError("a reward is for the assistant's message, which must come last")
        reply = self.tokenizer.encode_reply(chat[-1]["content"])
        room = self.model.config.context_length - len(reply)
        if room < SHORTEST_PROMPT:
            raise RequestError(
                f"the assistant's message has {len(reply)} tokens with its end marker, and beside what it answers the "
                f"model reads at most {self.model.config.context_length - SHORTEST_PROMPT}"
            )
        prompt = self.tokenizer.encode_prompt(chat[:-1], max_tokens=room)
        batch = pack([prompt], [reply], pad_id=self.tokenizer.pad)
        return float(self.model(batch.input_ids)[0, batch.last_positions[0]])


class ClassifierModel:
    """A classifier: tells the class of texts, or the number of the likeliest choice, from 0."""

    def __init__(self, folder: Path) -> None:
        self.model, self.tokenizer = load_classifier(folder), load_tokenizer(folder)

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """The class of one row, or a list of classes; a row has an item's keys without the answer, such as `text`."""
        rows, name = _plain(model_input), cast(Name, self.model.transformation)
        single = isinstance(rows, Mapping)
        try:
            items = [_item(TRANSFORMATIONS[name].item, row) for row in ([rows] if single else rows)]
        except (TypeError, ValueError) as error:
            raise mlflow_store.BadRequest(f"rows are wanted with the keys of {name}: {error}") from None
        ids = encode_all(items, name, self.tokenizer, self.model.config.context_length)
        classes = self.model.classes
        found = [classes[place] if classes else place for place in told(self.model, ids)]
        return found[0] if single else found


def _item(kind: type[Item], row: Mapping[str, Any]) -> Item:
    answer = {"gold": 0} if kind is Choice else {"label": "unknown"}
    return TypeAdapter(kind).validate_json(json.dumps({**row, **answer}))


def _conversations(model_input: Any) -> tuple[list[list[Message]], bool]:
    """Conversations from what pyfunc and its server pass on, and whether it was a single one.

    Accepts a list of messages, a list of such lists, {"messages": ...}, and data frames made of these.

    Raises:
        RequestError: the input has none of these forms.
    """
    plain = _plain(model_input)
    if isinstance(plain, list) and plain and all(isinstance(row, Mapping) and "messages" in row for row in plain):
        plain = [row["messages"] for row in plain]
        plain = plain[0] if len(plain) == 1 else plain
    if isinstance(plain, Mapping):
        plain = plain.get("messages")
    while isinstance(plain, list) and len(plain) == 1 and isinstance(plain[0], list):
        (plain,) = plain
    if isinstance(plain, list) and plain:
        if all(isinstance(message, Mapping) and {"role", "content"} <= message.keys() for message in plain):
            return [plain], True
        if all(isinstance(chat, list) for chat in plain):
            return plain, False
    raise RequestError(FORM)


def _plain(value: Any) -> Any:
    """Frames and arrays, in which a server may wrap even a single text, as lists, dicts and texts."""
    if hasattr(value, "to_dict"):
        value = value.to_dict(orient="records")
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {
            key: _alone(_plain(item)) if key in {"role", "content"} else _plain(item) for key, item in value.items()
        }
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _alone(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _load_pyfunc(path: str) -> ChatModel | RewardModel | ClassifierModel:
    """MLflow's hook: the model in a folder."""
    folder = Path(path)
    kinds: dict[str, type[RewardModel] | type[ClassifierModel]] = {
        "scalar_gpt": RewardModel,
        "classifier_gpt": ClassifierModel,
    }
    return kinds.get(model_kind(folder), ChatModel)(folder)

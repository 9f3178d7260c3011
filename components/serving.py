"""A registered model as `mlflow.pyfunc.load_model` and `mlflow models serve` offer it: chat messages in, a reply out.

MLflow calls `_load_pyfunc` with the model's folder. Needs nothing but the requirements declared at registration.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from components.checkpoints import load_gpt, load_scalar, load_tokenizer, model_kind
from components.data.sequences import pack
from components.models.generation import Sampling, sample_steps

Message = Mapping[str, str]


class ChatModel:
    """A language model that answers a conversation."""

    def __init__(self, folder: Path) -> None:
        self.model, self.tokenizer = load_gpt(folder), load_tokenizer(folder)

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_new_tokens: int = 40,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Iterator[str]:
        """Yield the reply piece by piece; the pieces joined are the reply."""
        max_new_tokens = min(max_new_tokens, self.model.config.context_length // 2)  # leave room for what was said
        room = self.model.config.context_length - max_new_tokens
        prompt = self.tokenizer.encode_prompt([dict(message) for message in messages], max_tokens=room)
        steps = sample_steps(
            self.model,
            [prompt],
            sampling=Sampling(temperature, top_k, top_p),
            max_new_tokens=max_new_tokens,
            generator=torch.Generator().manual_seed(seed),
        )
        ids: list[int] = []
        shown = ""
        for token in steps:
            if int(token) == self.tokenizer.end:
                break
            ids.append(int(token))
            text = self.tokenizer.decode(ids)
            if not text.endswith("\ufffd"):  # the bytes of a character may be spread over tokens
                yield text[len(shown) :]
                shown = text
        final = self.tokenizer.decode(ids)
        if final != shown:
            yield final[len(shown) :]

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """The assistant's message to one conversation, or a list of them to several."""
        conversations, single = _conversations(model_input)
        answers = [
            {"role": "assistant", "content": "".join(self.stream(chat, **(params or {}))).strip()}
            for chat in conversations
        ]
        return answers[0] if single else answers


class RewardModel:
    """A reward model: scores the last message of a conversation, the assistant's, in the light of what came before."""

    def __init__(self, folder: Path) -> None:
        self.model, self.tokenizer = load_scalar(folder), load_tokenizer(folder)

    @torch.no_grad()
    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """The reward of one conversation's last message, or a list of rewards."""
        conversations, single = _conversations(model_input)
        scores = [self._score(chat) for chat in conversations]
        return scores[0] if single else scores

    def _score(self, chat: Sequence[Message]) -> float:
        if not chat or chat[-1]["role"] != "assistant":
            raise ValueError("a reward is for the assistant's message, which must come last")
        reply = [*self.tokenizer.encode_text(chat[-1]["content"]), self.tokenizer.end]
        room = self.model.config.context_length - len(reply)
        prompt = self.tokenizer.encode_prompt([dict(message) for message in chat[:-1]], max_tokens=room)
        batch = pack([prompt], [reply], pad_id=self.tokenizer.pad)
        return float(self.model(batch.input_ids)[0, batch.last_positions[0]])


def _conversations(model_input: Any) -> tuple[list[list[Message]], bool]:
    """Conversations from what pyfunc and its server pass on, and whether it was a single one.

    Accepts a list of messages, a list of such lists, {"messages": ...}, and data frames made of these.

    Raises:
        ValueError: the input has none of these forms.
    """
    if hasattr(model_input, "to_dict"):
        model_input = model_input.to_dict(orient="records")
        if model_input and "messages" in model_input[0]:
            model_input = [row["messages"] for row in model_input]
    if isinstance(model_input, Mapping):
        model_input = model_input.get("messages")
    if hasattr(model_input, "tolist"):
        model_input = model_input.tolist()
    if isinstance(model_input, list | tuple) and model_input:
        if all(isinstance(message, Mapping) and {"role", "content"} <= message.keys() for message in model_input):
            return [list(model_input)], True
        if all(isinstance(chat, list | tuple) for chat in model_input):
            return [list(chat) for chat in model_input], False
    raise ValueError('expected chat messages: [{"role": "user", "content": "..."}], or a list of such lists')


def _load_pyfunc(path: str) -> ChatModel | RewardModel:
    """MLflow's hook: the model in a folder."""
    folder = Path(path)
    return RewardModel(folder) if model_kind(folder) == "scalar_gpt" else ChatModel(folder)

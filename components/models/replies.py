"""Prompts in, sampled replies out: shared by compare, ppo and evaluate."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from components.data.chat import ChatTokenizer
from components.data.records import Message, Prompt, as_chat, group_of, read_records
from components.losses.sampling import Sampling
from components.models.generation import sample_replies, uniforms
from components.models.inference import for_sampling
from components.models.precision import autocast
from components.models.transformer import GPT
from components.progress import Progress
from components.sections.generation import Generation


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt, the ids that a model sees of it, and what it shares a split with."""

    id: str
    messages: tuple[Message, ...]
    ids: list[int]
    group: str = ""

    @property
    def user(self) -> str:
        """What the user said last."""
        return self.messages[-1].content


@dataclass(frozen=True)
class Reply:
    """A sampled reply: its ids as they were drawn, the end marker last if it `ended` by itself."""

    ids: list[int]
    ended: bool

    def text(self, tokenizer: ChatTokenizer) -> str:
        """What a person reads of it."""
        return tokenizer.decode(self.ids).strip()


def load_prompts(
    path: Path, tokenizer: ChatTokenizer, *, max_tokens: int, limit: int | None = None
) -> list[EncodedPrompt]:
    """Read and encode prompts, the first `limit` of them.

    Raises:
        RecordError: rows of the file break their schema.
    """
    return [
        EncodedPrompt(
            prompt.id,
            prompt.messages,
            tokenizer.encode_prompt(as_chat(prompt.messages), max_tokens=max_tokens),
            group_of(prompt),
        )
        for prompt in islice(read_records(path, Prompt), limit)
    ]


def sampling_of(params: Generation) -> Sampling:
    """The sampler's settings among the generation parameters."""
    return Sampling(params.temperature, params.top_k, params.top_p)


def sample_all(
    model: GPT,
    tokenizer: ChatTokenizer,
    prompts: list[EncodedPrompt],
    params: Generation,
    *,
    precision: str,
    seed: int,
    end_id: int | None = None,
    progress: Progress | None = None,
) -> list[Reply]:
    """One sampled reply a prompt, in the prompts' order. The end marker is the chat template's unless another is given.

    Prompts of like length are read together; what a reply draws depends on the seed and its prompt's place alone.
    """
    if not prompts:
        return []
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index].ids))
    with autocast(precision, model.token_embedding.weight.device):
        replies = sample_replies(
            for_sampling(model, rows=len(prompts), steps=params.max_new_tokens),
            [prompts[row].ids for row in order],
            sampling=sampling_of(params),
            uniform=uniforms(len(prompts), params.max_new_tokens, seed=(seed,))[order],
            end_id=tokenizer.end if end_id is None else end_id,
            pad_id=tokenizer.pad,
            on_ended=None if progress is None else progress.advance,
        )
    drawn = zip(order, replies.response_ids, replies.response_mask, replies.ended.tolist(), strict=True)
    result = {row: Reply(ids[mask].tolist(), ended) for row, ids, mask, ended in drawn}
    return [result[row] for row in range(len(prompts))]

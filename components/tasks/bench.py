"""What evaluations measure with: models, replies, referees and comparisons, each made when it is first asked for."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from components.arithmetic import device_of, precision_of
from components.checkpoints import load_gpt, load_tokenizer
from components.data.comparisons import EncodedComparison, encode_comparison
from components.data.records import Comparison, read_records
from components.data.sequences import SequenceBatch, pack
from components.data.tokens import TokenFile
from components.evaluation.perplexity import token_file_loss
from components.evaluation.replies import ReplySet, Sampled
from components.losses.language_modelling import next_token_loss
from components.losses.ppo import kl_k1
from components.losses.sampling import Sampling, candidates
from components.models.precision import autocast
from components.models.replies import EncodedPrompt, Reply, load_prompts, sample_all, sampling_of
from components.models.scoring import response_logits, response_logprobs
from components.models.transformer import GPT
from components.progress import Progress
from components.tasks.referees import Court, Scores, open_court, scalar_scores
from components.work import Work

if TYPE_CHECKING:
    from components.stages.evaluate import Evaluate

logger = logging.getLogger(__name__)
NEWLINE = "\n"
Said = TypeVar("Said", bound=Sampled)


@dataclass(frozen=True)
class Compared:
    """The split's comparisons, and what each referee and the reward model (`reward`) say of their replies, [K] each."""

    rows: list[EncodedComparison]
    scores: dict[str, list[np.ndarray]]


class Bench:
    """Measures the models of an evaluating node."""

    def __init__(self, work: "Work[Evaluate]") -> None:
        self.work = work
        self.fed = work.pipeline.fed(work.name)
        self.device, self.precision = device_of(work), precision_of(work)
        self.tokenizer = load_tokenizer(work.read_all("models")[self.fed["models"][-1]])
        # Kept for as long as the bench is: several evaluations look at the same losses.
        self.text_loss = lru_cache(maxsize=None)(self._text_loss)
        self.network = lru_cache(maxsize=2)(self._network)  # no measure looks at more at once; all may not fit

    @cached_property
    def prompts(self) -> list[EncodedPrompt]:
        """The split's; none where the node is fed none."""
        return [
            prompt
            for folder in self.work.read_all("prompts").values()
            for prompt in load_prompts(
                folder / f"{self.work.section.split}.jsonl",
                self.tokenizer,
                max_tokens=self.work.limits.max_prompt_tokens,
                limit=self.work.section.num_prompts,
            )
        ]

    @cached_property
    def court(self) -> Court:
        """The referees that these data allow."""
        return open_court(self.work, self.tokenizer)

    @cached_property
    def judges(self) -> dict[str, Scores]:
        """The referees and, where there is one, the reward model."""
        found = dict(self.court.referees)
        for folder in self.work.read_all("reward").values():
            found["reward"] = scalar_scores(self.work, folder, self.tokenizer)
        return found

    @cached_property
    def replies(self) -> dict[str, ReplySet]:
        """Each model's replies, and what the referees and the reward model say of each."""
        said = {name: self._replies(name) for name in self.fed["models"]}
        rows = self._beside(list(said.values()))
        scores = {by: np.reshape(score(*rows), (-1, len(said))) for by, score in self.judges.items()}
        return {
            name: ReplySet(
                replies=replies,
                texts=[reply.text(self.tokenizer) for reply in replies],
                scores={by: found[:, column].tolist() for by, found in scores.items()},
            )
            for column, (name, replies) in enumerate(said.items())
        }

    def _beside(self, said: Sequence[Sequence[Said]]) -> tuple[list[EncodedPrompt], list[Said]]:
        """Several models' replies as rows: all to one prompt together, so that whoever judges them reads it once."""
        prompts = [prompt for prompt in self.prompts for _ in said]
        return prompts, [reply for replies in zip(*said, strict=True) for reply in replies]

    def _batches(self, prompts: Sequence[EncodedPrompt], replies: Sequence[Sampled]) -> Iterator[SequenceBatch]:
        size = self.work.section.batch_size
        for start in range(0, len(prompts), size):
            part = slice(start, start + size)
            ids = [p.ids for p in prompts[part]], [r.ids for r in replies[part]]
            yield pack(*ids, pad_id=self.tokenizer.pad).to(self.device)

    def _network(self, name: str) -> GPT:
        return load_gpt(self.work.read_all("models")[name]).to(self.device)

    def _replies(self, name: str) -> list[Reply]:
        """One reply a prompt. A plain model knows no chat markers: it continues the plain text by a line."""
        work, tokenizer, prompts = self.work, self.tokenizer, self.prompts
        end_id = tokenizer.end
        if name in self.fed["plain"]:
            # GPT's own tokenizer writes no line ends.
            end_id = next(iter(tokenizer.encode_text(NEWLINE)), tokenizer.endoftext)
            prompts = [
                EncodedPrompt(p.id, p.messages, self._as_text(p)[-work.limits.max_prompt_tokens :]) for p in prompts
            ]
        logger.info("%s replies to %d prompts", name, len(prompts))
        with Progress(len(prompts), "replies") as progress, work.rates.timed("sampling") as lap:
            replies = sample_all(
                self.network(name),
                tokenizer,
                prompts,
                work.generation,
                precision=self.precision,
                seed=work.seed + 999,
                end_id=end_id,
                progress=progress,
            )
            lap.tokens = sum(len(reply.ids) for reply in replies)
        # Judged as a chat's reply, however the model that wrote it was prompted.
        return [Reply([*r.ids[:-1], tokenizer.end], True) if r.ended else r for r in replies]

    def _as_text(self, prompt: EncodedPrompt) -> list[int]:
        lines = (message.content.replace("\n", " ") + NEWLINE for message in prompt.messages)
        return self.tokenizer.encode_text("".join(lines))

    def _text_loss(self, name: str, batch_size: int) -> tuple[float, TokenFile]:
        """A model's loss on the split's plain text in nats a token, and the text."""
        model, params = self.network(name), self.work.section
        (folder,) = self.work.read_all("tokens").values()
        path = folder / f"{params.split}.json"
        tokens = TokenFile(path, context_length=self.work.limits.context_length)

        def loss(windows: Int[Tensor, "B N"]) -> Float[Tensor, ""]:
            with autocast(self.precision, windows.device):
                return next_token_loss(model(windows[:, :-1]), model.head, windows[:, 1:], cap=model.config.logit_cap)

        most = max(1, params.text_windows // batch_size)
        return token_file_loss(loss, tokens, batch_size=batch_size, max_batches=most, device=self.device), tokens

    @cached_property
    def compared(self) -> Compared:
        """The split's comparisons with everybody's scores."""
        work, end = self.work, self.tokenizer.end
        rows: list[EncodedComparison] = []
        prompts: list[EncodedPrompt] = []
        for record in read_records(work.read(work.section.split), Comparison):
            row = encode_comparison(
                record,
                self.tokenizer,
                max_prompt_tokens=work.limits.max_prompt_tokens,
                max_reply_tokens=work.generation.max_new_tokens,
            )
            rows.append(row)
            prompts += [EncodedPrompt(record.id, record.messages, row.prompt, row.group)] * len(row.replies)
        replies = [Reply(ids, ids[-1] == end) for row in rows for ids in row.replies]
        cuts = np.cumsum([len(row.replies) for row in rows])[:-1]
        scores = {by: np.split(np.array(score(prompts, replies)), cuts) for by, score in self.judges.items()}
        return Compared(rows, scores)

    @torch.no_grad()
    def surprises(self, by: str) -> dict[str, float]:
        """Nats a token that each model's replies, ends included, cost one of them that draws from all tokens."""
        said = [replies.replies for replies in self.replies.values()]
        logprobs: list[float] = []
        for batch in self._batches(*self._beside(said)):
            with autocast(self.precision, self.device):
                logprobs += response_logprobs(self.network(by), batch, Sampling()).sum(dim=1).tolist()
        nats = -np.reshape(logprobs, (-1, len(said))).sum(axis=0)
        tokens = [sum(len(reply.ids) for reply in replies) for replies in said]
        return {name: float(whole / count) for name, whole, count in zip(self.replies, nats, tokens, strict=True)}

    @torch.no_grad()
    def divergence(self, name: str, reference: str) -> float:
        """KL of a model to another in nats a reply, over the first one's replies."""
        divergences: list[float] = []
        sampling = sampling_of(self.work.generation)
        for batch in self._batches(self.prompts, self.replies[name].replies):
            with autocast(self.precision, self.device):
                kept = candidates(response_logits(self.network(name), batch), sampling) if sampling.cuts else None
                if kept is not None:
                    kept = kept.scatter(-1, batch.response_ids[..., None], True)
                own, other = (
                    response_logprobs(self.network(each), batch, sampling, kept) for each in (name, reference)
                )
            divergences += kl_k1(own, other).sum(dim=1).tolist()
        return float(np.mean(divergences))

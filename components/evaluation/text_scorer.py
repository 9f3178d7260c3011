"""A language model asked in text or in its chat format, as EleutherAI's evaluation harness asks: likelihoods, rolling
likelihoods, greedy replies. Our own evaluation tasks and the adapter to the harness (components/harness.py) ask through
this alone.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch

from components.data.chat import ChatTokenizer
from components.data.chat_format import Messages, Piece
from components.data.records import Message, as_chat
from components.evaluation.beam import Ids, beam_search
from components.evaluation.likelihood import BATCH_TOKENS, Likelihood, Pair, likelihoods, rolling_windows
from components.evaluation.wording import before
from components.losses.sampling import Sampling
from components.models.generation import Decoder, sample_replies, uniforms
from components.models.inference import for_sampling
from components.models.precision import autocast
from components.models.transformer import GPT

GREEDY = Sampling(temperature=0.0)


class Conversation(str):
    """A conversation as it reads, with what of it are markers: a plain text that says the same has none."""

    pieces: tuple[Piece, ...]

    def __new__(cls, pieces: Sequence[Piece]) -> "Conversation":
        written = super().__new__(cls, "".join(text for _, text in pieces))
        written.pieces = tuple(pieces)
        return written


def pieces_of(text: str) -> list[Piece]:
    """Markers and texts of a conversation; a plain text is one piece."""
    return list(text.pieces) if isinstance(text, Conversation) else [(False, text)]


@dataclass(frozen=True)
class TextScorer:
    """A language model with its tokenizer. What follows no context follows the tokenizer's end-of-text token."""

    model: GPT
    tokenizer: ChatTokenizer
    precision: str = "32-true"
    batch_tokens: int = BATCH_TOKENS

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def context_length(self) -> int:
        """Tokens that the model sees at once."""
        return int(self.model.config.context_length)

    def encode(self, context: str, continuation: str) -> Pair:
        """Ids of context and continuation: those of both together, cut where the context alone would end.

        Spaces at the context's end go to the continuation, since tokenizers put a word's space before it.

        Raises:
            ValueError: nothing is left of the continuation.
        """
        said = pieces_of(context)
        bare = _without_last_blanks(said)
        before = self.tokenizer.encode_pieces(bare)
        whole = self.tokenizer.encode_pieces([*said, (False, continuation)])
        if len(whole) <= len(before):
            raise ValueError(f"after {context[-40:]!r} the continuation {continuation!r} has no token of its own")
        if bare:
            return before, whole[len(before) :]
        return [self.tokenizer.endoftext], whole

    def conversation(self, messages: Messages, *, cue: bool) -> Conversation:
        """Messages in the model's chat format, as a context or a prompt (`ChatFormat.spoken`)."""
        return Conversation(self.tokenizer.format.spoken(messages, cue=cue))

    def likelihoods(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """Of each continuation after its context, which may be empty.

        Raises:
            ValueError: a continuation has no token, or more than the model's context.
        """
        return self._ask([self.encode(*pair) for pair in pairs])

    def text_likelihoods(self, texts: Sequence[str]) -> list[float]:
        """Log-probability of each whole text in nats, in windows where it is longer than the context."""
        length, prefix = self.context_length, self.tokenizer.endoftext
        windows = [
            rolling_windows(self.tokenizer.encode_text(text), prefix_id=prefix, context_length=length) for text in texts
        ]
        found = iter(self._ask([window for own in windows for window in own]))
        return [sum(next(found).logprob for _ in own) for own in windows]

    def _ask(self, pairs: Sequence[Pair]) -> list[Likelihood]:
        with autocast(self.precision, self.device):
            return likelihoods(
                self.model,
                pairs,
                context_length=self.context_length,
                device=self.device,
                batch_tokens=self.batch_tokens,
            )

    def replies(self, prompts: Sequence[str], *, stops: Sequence[str], max_new_tokens: int) -> list[str]:
        """What the model says after each text when it always takes the likeliest token.

        A reply ends before the first of `stops`, at an end marker, or after max_new_tokens. Of a text that leaves these
        no room the beginning is lost.

        Raises:
            ValueError: max_new_tokens leave no room for a text at all.
        """
        room = self._room(max_new_tokens)
        encoded = [self._encoded(text)[-room:] for text in prompts]
        return self._continued(encoded, stops, max_new_tokens)

    def answers(self, chats: Sequence[Sequence[Message]], *, max_new_tokens: int) -> list[str]:
        """As `replies`, to conversations whose last turn is the user's, in the model's chat format.

        Raises:
            ValueError: max_new_tokens leave no room for a conversation at all.
        """
        room = self._room(max_new_tokens)
        encoded = [self.tokenizer.encode_prompt(as_chat(chat), max_tokens=room) for chat in chats]
        return self._continued(encoded, (), max_new_tokens)

    def candidates(
        self,
        prompts: Sequence[str],
        *,
        width: int,
        max_new_tokens: int,
        over: Callable[[str], bool],
        alpha: float = 0.0,
        same: Callable[[str], Hashable] = str,
    ) -> list[list[str]]:
        """Up to `width` likely continuations of each text, the likeliest first, by beam search (`beam_search`).

        Of those that are the `same` there is one, as likely as all of them that were found.

        A continuation ends where `over` says so of it, at an end marker, or after max_new_tokens. Of a text that leaves
        these no room the beginning is lost.

        Raises:
            ValueError: max_new_tokens leave no room for a text at all.
        """
        room = self._room(max_new_tokens)
        encoded = [self._encoded(text)[-room:] for text in prompts]
        order = sorted(range(len(encoded)), key=lambda row: len(encoded[row]))

        def ends(ids: Ids) -> bool:
            return ids[-1] in self._ends or over(self.tokenizer.decode(ids))

        with autocast(self.precision, self.device):
            asked = [encoded[row] for row in order]
            drawn = beam_search(
                for_sampling(self.model, rows=width * len(asked), steps=max_new_tokens),
                asked,
                width=width,
                max_new_tokens=max_new_tokens,
                over=ends,
                same=lambda ids: same(self._cut(list(ids), ())),
                alpha=alpha,
            )
            found = {
                row: [self._cut(list(each.ids), ()) for each in own] for row, own in zip(order, drawn, strict=True)
            }
        return [found[row] for row in range(len(encoded))]

    def drawn(self, texts: Sequence[str], *, behind: str, top_k: int, max_new_tokens: int, seed: int = 0) -> list[str]:
        """What the model says after each text and what stands behind it, drawn from the top_k likeliest tokens.

        Of a text that leaves the new tokens no room the end is lost, so that what stands behind stays.

        Raises:
            ValueError: max_new_tokens and what stands behind leave no room for a text at all.
        """
        cue = self.tokenizer.encode_text(behind) if behind else []
        room = self._room(max_new_tokens + len(cue))
        with autocast(self.precision, self.device):
            replies = sample_replies(
                for_sampling(self.model, rows=len(texts), steps=max_new_tokens),
                [self._encoded(text)[:room] + cue for text in texts],
                sampling=Sampling(top_k=top_k),
                uniform=uniforms(len(texts), max_new_tokens, seed=(seed,)),
                end_id=self.tokenizer.endoftext,
                pad_id=self.tokenizer.pad,
            )
        rows = zip(replies.response_ids, replies.response_mask, strict=True)
        return [self._cut(ids[mask].tolist(), ()) for ids, mask in rows]

    def _encoded(self, text: str) -> list[int]:
        return self.tokenizer.encode_pieces(pieces_of(text)) or [self.tokenizer.endoftext]

    def _room(self, max_new_tokens: int) -> int:
        room = self.context_length - max_new_tokens
        if room < 1:
            raise ValueError(f"{max_new_tokens} new tokens leave no room in a context of {self.context_length}")
        return room

    def _continued(self, encoded: list[list[int]], stops: Sequence[str], max_new_tokens: int) -> list[str]:
        if not encoded:
            return []
        order = sorted(range(len(encoded)), key=lambda row: len(encoded[row]))
        size = max(1, self.batch_tokens // (max_new_tokens + max(map(len, encoded))))
        found: dict[int, str] = {}
        with autocast(self.precision, self.device):
            model = for_sampling(self.model, rows=min(size, len(order)), steps=max_new_tokens)
            for start in range(0, len(order), size):
                rows = order[start : start + size]
                drawn = self._greedy(model, [encoded[row] for row in rows], stops, max_new_tokens)
                found |= {row: self._cut(ids, stops) for row, ids in zip(rows, drawn, strict=True)}
        return [found[row] for row in range(len(encoded))]

    def _greedy(
        self, model: GPT, prompts: list[list[int]], stops: Sequence[str], max_new_tokens: int
    ) -> list[list[int]]:
        decoder = Decoder(model, prompts, sampling=GREEDY, uniform=torch.zeros(len(prompts), max_new_tokens))
        drawn: list[list[int]] = [[] for _ in prompts]
        going = list(range(len(prompts)))
        for step in range(max_new_tokens):
            for row, token in zip(going, decoder.step().tolist(), strict=True):
                drawn[row].append(token)
            over = [place for place, row in enumerate(going) if self._is_over(drawn[row], stops)]
            if len(over) == len(going) or step + 1 == max_new_tokens:
                break
            if over:
                going = [going[place] for place in decoder.drop(over)]
        return drawn

    @property
    def _ends(self) -> frozenset[int]:
        return frozenset((self.tokenizer.end, self.tokenizer.endoftext))

    def _is_over(self, ids: list[int], stops: Sequence[str]) -> bool:
        if ids[-1] in self._ends:
            return True
        # A token is a byte at least, so a stop that has just been completed is within so many.
        tail = self.tokenizer.decode(ids[-max((len(stop.encode()) for stop in stops), default=0) - 1 :])
        return any(stop in tail for stop in stops)

    def _cut(self, ids: list[int], stops: Sequence[str]) -> str:
        return before(self.tokenizer.decode(ids[:-1] if ids[-1] in self._ends else ids), stops)


def _without_last_blanks(pieces: Sequence[Piece]) -> list[Piece]:
    """Pieces whose last one is a marker or ends with no blank; none where there are only blanks."""
    kept = list(pieces)
    while kept and not kept[-1][0]:
        if text := kept.pop()[1].rstrip():
            return [*kept, (False, text)]
    return kept

"""What a model reads of a request, and what of a conversation it does not see any more."""

from bisect import bisect_left
from collections.abc import Sequence

from components.data.chat import ChatTokenizer
from components.inference.pool import Loaded
from components.serving_input import RequestError, check_prompt, text_fault
from components.web.errors import ApiError
from components.web.service import Prompt

UNBOUNDED = 2**31


def of_chat(loaded: Loaded, messages: Sequence[dict[str, str]], new_tokens: int, param: str = "messages") -> Prompt:
    """A conversation up to where the assistant speaks. What is too long for the context is cut as in training.

    Raises:
        ApiError: 400, it is none that a model can answer.
    """
    try:
        chat = check_prompt(messages)
    except RequestError as error:
        raise ApiError(400, str(error), param=param, code="invalid_messages") from None
    capacity, tokenizer = loaded.engine.capacity, loaded.tokenizer
    room = capacity - min(new_tokens, capacity // 2)  # what was said needs room too
    ids = tokenizer.encode_prompt(chat, max_tokens=room)
    cut = tokenizer.is_cut(chat, max_tokens=room)
    headers = {"x-context-forgotten": str(forgotten(tokenizer, chat, ids)), "x-context-cut": str(cut).lower()}
    return Prompt(tuple(ids), min(new_tokens, capacity - len(ids)), frozenset({tokenizer.end}), headers)


def forgotten(tokenizer: ChatTokenizer, chat: Sequence[dict[str, str]], ids: Sequence[int]) -> int:
    """How many of a conversation's oldest messages, the system message aside, are not in its prompt."""
    first = int(chat[0]["role"] == "system")

    def fits(oldest: int) -> bool:
        return len(tokenizer.encode_prompt([*chat[:first], *chat[oldest:]], max_tokens=UNBOUNDED)) <= len(ids)

    # Halving: to encode what is left after each of a thousand messages would hold up everybody's tokens.
    return bisect_left(range(first, len(chat) - 1), True, key=fits)


def of_text(loaded: Loaded, text: str, new_tokens: int) -> Prompt:
    """A text that goes on, as the model saw documents: one begins behind the token that ends another.

    Raises:
        ApiError: 400, the context does not hold it and as many new tokens as asked for.
    """
    tokenizer, capacity = loaded.tokenizer, loaded.engine.capacity
    if text and (fault := text_fault(text + ".")):
        raise ApiError(400, fault, param="prompt", code="invalid_text")
    ids = (tokenizer.endoftext, *tokenizer.encode_text(text))
    if len(ids) + new_tokens > capacity:
        raise ApiError(
            400, f"the prompt has {len(ids)} tokens and {new_tokens} new ones are asked for: the context is {capacity}",
            param="prompt", code="context_length_exceeded",
        )  # fmt: skip
    return Prompt(ids, new_tokens, frozenset({tokenizer.endoftext, tokenizer.end}), {})

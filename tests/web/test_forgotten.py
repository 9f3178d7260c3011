"""What of a conversation a model does not see any more."""

import pytest

from components.data.chat import ChatTokenizer
from components.data.tokenizer import train_tokenizer
from components.web.prompts import forgotten

WHOLE = 10**6


@pytest.mark.parametrize("system", [[], [{"role": "system", "content": "hello"}]])
@pytest.mark.parametrize("room", [30, 47, 61, 200, WHOLE])
def test_what_is_left_of_a_conversation_is_its_prompt_and_one_message_more_is_not(system, room):
    tokenizer = ChatTokenizer(train_tokenizer(["hello hi bye"] * 20, vocab_size=300))
    said = [{"role": ("user", "assistant")[n % 2], "content": "hello hi " * (n % 4) + "bye"} for n in range(41)]
    ids = tokenizer.encode_prompt([*system, *said], max_tokens=room)
    count = forgotten(tokenizer, [*system, *said], ids)
    assert tokenizer.encode_prompt([*system, *said[count:]], max_tokens=WHOLE) == ids
    if room == WHOLE:
        assert count == 0
    else:
        assert len(tokenizer.encode_prompt([*system, *said[count - 1 :]], max_tokens=WHOLE)) > room

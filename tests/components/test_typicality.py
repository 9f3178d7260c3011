"""The second referee: its trigrams by hand, and whom it likes."""

import itertools
import math
import random

import pytest

from components.data.records import Demonstration, Message, RecordError, write_records
from components.evaluation.typicality import TrigramModel, Typicality, tokens
from components.labeling import gold

PEOPLE = [
    "i went to the beach last weekend with my sister", "we watched a movie and then had some pizza for dinner",
    "my dog likes to sleep on the couch all day", "i have a lot of homework to do this week",
    "that sounds like a lot of fun, who did you go with?", "i really like to play the guitar when i have time",
    "the weather has been so cold lately", "do you have any plans for the summer?",
    "i am going to visit my family in june", "what kind of music do you like to listen to?",
]  # fmt: skip


@pytest.fixture(scope="module")
def referee():
    draw = random.Random(0)
    clauses = [part.split() for part in PEOPLE]
    counted = [" ".join([*draw.choice(clauses), "and", *draw.choice(clauses)]) for _ in range(300)]
    others = [" ".join([*draw.choice(clauses), "but", *draw.choice(clauses)]) for _ in range(300)]
    return Typicality(counted, others)


def test_probabilities_by_hand():
    """Of `a b` and `a c`: the context (start, start) was followed by a twice, (start, a) by b and by c."""
    model = TrigramModel(["a b", "a c"])
    spelt = 27.0**-2
    unigram_a, unigram_b = (2 + 3 * spelt) / (4 + 3), (1 + 3 * spelt) / (4 + 3)
    assert model.probability("a", ()) == pytest.approx(unigram_a)
    bigram_b = (1 + 2 * unigram_b) / (2 + 2)  # a was followed by b once and by c once
    assert model.probability("b", ("a",)) == pytest.approx(bigram_b)
    assert model.probability("b", ("", "a")) == pytest.approx((1 + 2 * bigram_b) / (2 + 2))
    first = (2 + (2 + unigram_a) / 3) / 3  # the start was followed by a alone, twice, in both contexts
    assert model.surprise("a") == pytest.approx(-math.log(first))


def test_probabilities_of_what_can_come_sum_to_one_at_most():
    model = TrigramModel(["the cat sat", "the cat ran", "a dog sat"])
    words = ["the", "cat", "sat", "ran", "a", "dog"]
    for context in itertools.product(["", "the", "cat", "never"], repeat=2):
        # What is missing is left for words never seen.
        assert 0.5 < sum(model.probability(word, context) for word in words) <= 1.0


def test_people_are_liked_better_than_what_is_no_language(referee):
    draw = random.Random(1)
    human = PEOPLE[0] + " but " + PEOPLE[3]
    shuffled = human.split()
    draw.shuffle(shuffled)
    gibberish = " ".join("".join(draw.choices("aeiourtnsklm", k=6)) for _ in range(9))
    assert referee.score(human) > max(referee.score(" ".join(shuffled)), referee.score(gibberish)) + 1


def test_the_same_likely_words_again_and_again_are_too_little_surprising(referee):
    assert referee.score("i have a lot of " * 4) < referee.score(PEOPLE[2] + " but " + PEOPLE[7]) - 0.5


def test_an_empty_reply_is_worst(referee):
    assert referee.score("  ") == -10 <= referee.score("qzx")


def test_it_shares_no_term_with_the_gold_function(referee):
    """Neither mood, nor how a reply ends beyond a sign's own surprise, nor the user's message moves it."""
    assert "user" not in Typicality.score.__code__.co_varnames
    modules = {name for name, value in vars(gold).items() if callable(value)} & set(Typicality.__dict__)
    assert not modules - {"score", "of_demonstrations"}


def test_what_gold_can_be_pleased_with_is_not_what_people_say(referee):
    """The policy of a run without a KL penalty said this to nearly everybody."""
    flattery = "Wow, sooo cool! Thats cool! that's awesome!"
    judge = gold.Gold(PEOPLE)
    assert judge.score("do you like music?", flattery) > judge.score("do you like music?", PEOPLE[6])
    assert referee.score(flattery) < referee.score(PEOPLE[6])


def test_too_few_replies_are_a_sentence(tmp_path):
    messages = (Message(role="user", content="hi"), Message(role="assistant", content="hello there"))
    write_records(tmp_path / "d.jsonl", [Demonstration(id=str(i), messages=messages) for i in range(8)])
    with pytest.raises(RecordError, match="too few to say how people write; 20 are needed"):
        Typicality.of_demonstrations(tmp_path / "d.jsonl")


def test_signs_are_words_of_their_own():
    assert tokens("Don't you?? \U0001f600") == ["don't", "you", "?", "?", "\U0001f600"]

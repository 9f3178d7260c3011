"""What GPT-2 and GPT-3 were asked without training for it: by hand, and against the libraries that count."""

import json
import math
import random
import re
from collections import defaultdict
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import pytest

from components.data.records import RecordError
from components.data.tokens import TokenFileWriter
from components.evaluation.likelihood import Likelihood
from components.evaluation.untokenizing import RULES, untokenized
from components.evaluation.wording import f1, first_word, random_sentences, sentences
from components.sections.seam import Seam
from components.sections.values import typed
from tests.components.test_item_tasks import NO_PUBLIC, PUBLIC, folder, scorer

CAT = "Once upon a time the cat sat on the mat. It was warm! Was it red? The dog came home. All slept."


def task(tmp_path, kind, rows, **more):
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    values, problems = {"kind": kind, "name": "it", "file": str(path), **more}, []
    made = typed(Annotated[Any, Seam("components.tasks")], "task", values, problems)
    assert not problems
    return made


def judged(made, subject):
    found = made.judge(subject, made.items())
    return {name: own.value(own.parts.sum(axis=0)) for name, own in found.items()}


@pytest.mark.parametrize(("text", "expected"), [
    ("A cat. \"Is it?\" Yes!\nNo", ["A cat.", "\"Is it?\"", "Yes!", "No"]),
    ("M. Dupont met Dr. Who. (He left.) Then J. Bach came.",
     ["M. Dupont met Dr. Who.", "(He left.)", "Then J. Bach came."]),
    ("3.5 miles.He ran", ["3.5 miles.He ran"]),
    ("", []),
])  # fmt: skip
def test_sentences(text, expected):
    assert sentences(text) == expected


@pytest.mark.parametrize(("text", "expected"), [
    (" menus", ("menus", False)), (" menus.", ("menus", True)), ("don", ("don", False)), ("don'", ("don", False)),
    ("don't ", ("don't", True)), (" well-known thing", ("well-known", True)), ("dogs' ", ("dogs", True)),
    (" ", ("", False)), (" , and", ("", True)), ("42", ("", True)),
])  # fmt: skip
def test_the_first_word_and_whether_it_is_over(text, expected):
    assert first_word(text) == expected


@pytest.mark.parametrize(("reply", "answer", "expected"), [
    ("The cat sat.", "a cat sat", 1.0), ("a red cat", "the cat", 2 / 3), ("cat cat", "cat", 2 / 3),
    ("dog", "cat", 0.0), ("", "cat", 0.0), ("the", "an", 1.0),
])  # fmt: skip
def test_f1_of_words_by_hand(reply, answer, expected):
    assert f1(reply, answer) == pytest.approx(expected)


class Says:
    """A scorer that says what a test gives it, and keeps what it was asked."""

    def __init__(self, **said):
        self.said, self.asked = said, defaultdict(list)

    def __getattr__(self, name):
        def answer(prompts, **more):
            self.asked[name].append((prompts, more))
            found = self.said[name]
            return found(prompts, **more) if callable(found) else found

        return answer


def test_last_words_with_and_without_the_filter(tmp_path):
    rows = [{"context": "He ate the ", "completion": " Soup."}, {"context": "she", "completion": " ran"}]
    subject = Says(candidates=[[" the", ",", " soup."], [" ran.", " was"]])
    assert judged(task(tmp_path, "last_word", rows), subject) == {"accuracy": 1.0, "accuracy_unfiltered": 0.5}
    ((contexts, more),) = subject.asked["candidates"]
    assert contexts == ["He ate the", "she"] and more["width"] == 16
    assert more["over"](" soup.") and not more["over"](" sou")


def test_gaps_are_filled_by_the_whole_or_by_the_rest(tmp_path):
    rows = [{"before": "the ", "after": " fell", "choices": ["cup", "table"], "gold": 0}]
    known = {
        ("the ", "cup fell"): -5.0, ("the ", "table fell"): -4.0,  # the table is the likelier word
        ("the cup", " fell"): -1.0, ("the table", " fell"): -2.0,  # and the cup falls the likelier
    }  # fmt: skip
    subject = Says(likelihoods=lambda pairs: [Likelihood(known[pair], 1, False) for pair in pairs])
    assert judged(task(tmp_path, "gap", rows), subject) == {"accuracy": 0.0, "accuracy_partial": 1.0}
    with pytest.raises(RecordError, match="counted from 0"):
        task(tmp_path, "gap", [rows[0] | {"gold": 2}]).items()


TRANSLATIONS = [("the cat is on the mat", "le chat est sur le tapis"), ("a red dog", "un chien rouge"),
                ("we are all at home now", "nous sommes tous chez nous maintenant")]  # fmt: skip
SAID = [" le chat est sur un tapis. Et puis", " un chien rouge", " nous sommes tous chez moi\n"]


def test_bleu_is_sacrebleus_and_its_interval_covers_it(tmp_path):
    sacrebleu = pytest.importorskip("sacrebleu")
    made = task(tmp_path, "translation", [{"source": s, "target": t} for s, t in TRANSLATIONS], max_new_tokens=9)
    subject = Says(replies=SAID)
    items = made.items()
    found = made.figures(made.judge(subject, items), None, items, seed=0)
    said = ["le chat est sur un tapis.", "un chien rouge", "nous sommes tous chez moi"]
    expected = sacrebleu.corpus_bleu(said, [[target for _, target in TRANSLATIONS]]).score
    assert found["bleu"] == pytest.approx(expected)
    assert found["bleu_low"] < expected < found["bleu_high"]
    assert subject.asked["replies"][0][0][0] == "the cat is on the mat ="
    assert made.shown(items[1]) == "a red dog = un chien rouge"


def test_a_paired_test_of_bleu(tmp_path):
    pytest.importorskip("sacrebleu")
    rows = [{"source": str(number), "target": f"the {number} cats sat on the mat of {number}"} for number in range(30)]
    made = task(tmp_path, "translation", rows, max_new_tokens=9)
    items = made.items()
    right, wrong = [item.target for item in items], [item.target.replace("cats sat", "dogs ran") for item in items]
    own, other = (made.judge(Says(replies=said), items) for said in (right, wrong))
    found = made.figures(own, other, items, seed=0)
    assert found["bleu"] == pytest.approx(100) and found["bleu_difference_p"] < 0.001
    same = made.figures(other, other, items, seed=0)
    assert (same["bleu_difference"], same["bleu_difference_p"]) == (0.0, 1.0)


def test_summaries_beside_what_must_lose_and_what_is_hard_to_beat(tmp_path):
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rouge1", "rouge2", "rougeL"], True)
    rows = [{"text": CAT, "summary": "The cat sat on a warm mat."}]
    made = task(tmp_path, "summary", rows)
    said = {"\nTL;DR:": ["The cat sat on the mat. It was red. A dog! Four."], "": ["Nothing here."]}
    found = judged(made, Says(drawn=lambda texts, behind, **more: said[behind]))

    def expected(text):
        return [each.fmeasure for each in scorer.score(rows[0]["summary"], text).values()]

    own = expected("The cat sat on the mat. It was red. A dog!")
    assert [found[f"rouge_{kind}"] for kind in "12l"] == pytest.approx(own)
    assert found["rouge"] == pytest.approx(np.mean(own))
    assert found["rouge_no_hint"] == pytest.approx(np.mean(expected("Nothing here.")))
    first = "Once upon a time the cat sat on the mat. It was warm! Was it red?"
    assert found["rouge_first"] == pytest.approx(np.mean(expected(first)))
    drawn = random_sentences(sentences(CAT), 3, seed=0)
    assert found["rouge_random"] == pytest.approx(np.mean(expected(" ".join(drawn))))
    places = [CAT.index(each) for each in drawn]
    assert len(drawn) == 3 and places == sorted(places)


def test_what_is_drawn_keeps_the_hint_and_is_the_same_for_a_seed(tmp_path):
    subject = scorer(folder(tmp_path))
    long = "the cat sat on the mat " * 40
    one, two = (subject.drawn([long, "one two"], behind="\nTL;DR:", top_k=2, max_new_tokens=8) for _ in range(2))
    assert one == two
    greedy = subject.drawn(["one two"], behind=" three", top_k=1, max_new_tokens=8)
    assert greedy == subject.replies(["one two three"], stops=(), max_new_tokens=8)
    with pytest.raises(ValueError, match="no room"):
        subject.drawn(["a"], behind="x" * 80, top_k=2, max_new_tokens=8)


def test_replies_are_greedy_or_of_a_beam(tmp_path):
    rows = [{"query": "who?", "answer": "a cat"}]
    greedy = Says(replies=[" a cat"])
    assert judged(task(tmp_path, "exact_match", rows, max_new_tokens=5, stops=["."]), greedy)["exact_match"] == 1.0
    assert greedy.asked["replies"] == [(["who?"], {"stops": ["."], "max_new_tokens": 5})]
    beam = Says(candidates=[[" a cat. No", " a dog."]])
    assert (
        judged(task(tmp_path, "exact_match", rows, max_new_tokens=5, stops=["."], beam=4), beam)["exact_match"] == 1.0
    )
    ((_, asked),) = beam.asked["candidates"]
    assert (asked["width"], asked["alpha"], asked["over"](" a."), asked["over"](" a")) == (4, 0.6, True, False)


def test_a_beam_of_a_real_model_reads_text(tmp_path):
    subject = scorer(folder(tmp_path))
    texts = ["the cat sat", "one two three 1 2 3", ""]
    narrow = subject.candidates(texts, width=1, max_new_tokens=5, over=lambda text: False)
    assert [own[0] for own in narrow] == subject.replies(texts, stops=(), max_new_tokens=5)
    wide = subject.candidates(texts, width=3, max_new_tokens=5, over=lambda text: len(text) > 1)
    assert all(len(own) == 3 for own in wide)
    long = subject.candidates(["the cat sat on the mat " * 30], width=2, max_new_tokens=5, over=lambda text: False)
    assert len(long[0]) == 2


def test_exact_answers_have_f1_beside_them(tmp_path):
    rows = [{"query": "who?", "answer": "the red cat"}, {"query": "where?", "answer": "home"}]
    made = task(tmp_path, "exact_match", rows, max_new_tokens=5)
    assert judged(made, Says(replies=["red cat", " home"])) == pytest.approx({"exact_match": 0.5, "f1": 1.0})


PLAIN = [
    ("Mr. Brown 's 1 @,@ 200 well @-@ known dogs , he said , ca n't run .",
     "Mr. Brown's 1,200 well-known dogs, he said, can't run."),
    ('He ( the " old " one ) had $ 5 ; why ?', 'He (the "old" one) had $5; why?'),
    ("No . 5 by J. S. Bach .", "No . 5 by J. S. Bach."),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), PLAIN)
def test_text_as_people_write_it(text, expected):
    assert untokenized(text, "wikitext") == expected
    assert untokenized(text, "none") == text


def restored(line, kind):
    """The line through every rule, back through those that were kept, in the other order."""
    kept = []
    for rule in RULES[kind]:
        if (changed := rule.apply(line)) != line:
            kept.append(rule)
        line = changed
    for rule in reversed(kept):
        line = re.sub(rule.back_pattern, rule.back, line)
    return line


@pytest.mark.parametrize("kind", ["treebank", "wikitext"])
def test_no_text_is_lost(kind):
    draw = random.Random(0)
    parts = [*"abC.,;:!?()[]$5'\"-   ", "n't", "'s", "@-@", "@,@", "@.@", "Mr.", "12"]
    for _ in range(3000):
        line = "".join(draw.choices(parts, k=12))
        assert restored(line, kind) == line


@pytest.mark.skipif(not PUBLIC.is_dir(), reason=NO_PUBLIC)
def test_of_a_public_file_every_line_comes_back_and_nearly_all_points_are_joined():
    lines = [line for line in (PUBLIC / "wikitext-2/valid.txt").read_text().split("\n") if line.strip()]
    assert all(restored(line, "wikitext") == line for line in lines)
    plain = [untokenized(line, "wikitext") for line in lines]
    assert sum(line.count(" . ") for line in plain) < 0.03 * sum(line.count(" . ") for line in lines)
    assert sum("@-@" in line for line in plain) == 0


def test_a_detokenizer_changes_what_is_read_and_not_the_units(tmp_path):
    text = PLAIN[0][0]
    subject = Says(text_likelihoods=[-20.0])
    found = judged(task(tmp_path, "passages", [{"text": text}], detokenizer="wikitext"), subject)
    assert subject.asked["text_likelihoods"][0][0] == [PLAIN[0][1]]
    assert found["word_perplexity"] == pytest.approx(math.exp(20 / len(text.split())))
    assert found["bits_per_byte"] == pytest.approx(20 / math.log(2) / len(text.encode()))


def overlap(tmp_path, training, asked, n=3):
    root = tmp_path / "model"
    root.mkdir()
    subject = scorer(folder(root))
    writer = TokenFileWriter(tmp_path / "tokens/train.json", vocab_size=300, endoftext=subject.tokenizer.endoftext)
    writer.extend(training, [subject.tokenizer.encode_text(text) for text in training])
    writer.close()
    made = task(tmp_path, "overlap", [{"text": text} for text in asked], n=n)
    work = SimpleNamespace(read_all=lambda name: {"prepare": tmp_path / "tokens"})
    bench = SimpleNamespace(work=work, tokenizer=subject.tokenizer)
    return made, made.judge(made.subject(bench, "prepare"), made.items())["overlap"]


def test_the_share_of_n_grams_that_were_read(tmp_path):
    training = ["The cat sat, on the mat!", "one two", "three FOUR five six"]
    # cat-sat-on, sat-on-the; one-two-three is in no one text; three-four-five; a text of two words has none.
    asked = ["a cat sat on the", "one two three four-five", "mat one"]
    _, found = overlap(tmp_path, training, asked)
    assert (list(found.totals), list(found.weights)) == ([2.0, 1.0, 0.0], [3.0, 3.0, 0.0])


def test_texts_without_n_words_are_refused(tmp_path):
    with pytest.raises(RecordError, match="none of its texts has 9 words"):
        overlap(tmp_path, ["one two three"], ["one two three"], n=9)


def test_a_filter_takes_few_others_for_seen(tmp_path):
    draw = random.Random(1)
    training = [" ".join(draw.choices("one two three 1 2 3 4 5 6".split(), k=200)) for _ in range(40)]
    asked = [" ".join(draw.choices("one two three 1 2 3 4 5 6".split(), k=400)) for _ in range(5)]
    _, found = overlap(tmp_path, training, asked, n=5)
    own = {tuple(words[i : i + 5]) for words in map(str.split, training) for i in range(196)}
    expected = [sum(tuple(words[i : i + 5]) in own for i in range(396)) for words in map(str.split, asked)]
    assert list(found.totals) == expected and 0 < sum(expected) < 5 * 396

"""Templates, what is found of an answer, and each technique on a model that says what a test gives it."""

import random
import re
from dataclasses import replace
from functools import partial

import pytest

from components.prompting.question import Question, last_match, majority, plain
from components.prompting.technique import Setting
from components.prompting.template import Template, TemplateError, difference, read_template
from components.prompting.tools import calculator
from components.sections.values import typed
from components.stages.prompting import Prompting
from components.stages.questions import SETS, distinct


def test_a_template_has_all_its_variables_and_no_others():
    template = Template("t", "{{ a }} and {{b}}, {{ a }}")
    assert template.variables == {"a", "b"}
    assert template.render(a="1", b="{{ a }}") == "1 and {{ a }}, 1"  # a value is text
    with pytest.raises(TemplateError, match="no value for b"):
        template.render(a="1")
    with pytest.raises(TemplateError, match="no value for b; c stands nowhere"):
        template.render(a="1", c="2")


@pytest.mark.parametrize("text", ["one\n{{ two", "one\n}} two", "one\n{{ a b }}", "one\n{{ 1 }}"])
def test_braces_that_are_no_variable_are_refused_with_their_line(text):
    with pytest.raises(TemplateError, match="line 2"):
        Template("t", text)


def test_files_and_what_changed(tmp_path):
    path = tmp_path / "ask.txt"
    path.write_text("one\n{{ two }}\n")
    found = read_template(path)
    assert (found.name, found.text) == ("ask", "one\n{{ two }}")
    assert found.digest == Template("other", "one\n{{ two }}").digest != Template("ask", "one").digest
    changed = difference(found, Template("ask", "one\n{{ three }}"), ("a", "b"))
    assert changed.splitlines()[-2:] == ["-{{ two }}", "+{{ three }}"]
    with pytest.raises(TemplateError, match="No such file"):
        read_template(tmp_path / "none.txt")


NUMBER = r"-?\d+(?:,\d{3})*(?:\.\d+)?"  # as pipelines/prompts has it


@pytest.mark.parametrize(("pattern", "text", "expected"), [
    (NUMBER, "3 + 4 = 7, so 1,200.", "1200"), (NUMBER, "none", None), (NUMBER, "It is 42, I think", "42"),
    (NUMBER, "$18.00", "18"), (NUMBER, "3.5.", "3.5"), (r"(\d+)?x", "x", None),
    ("positive|negative", "Not negative: POSITIVE.", "positive"), (r"answer is (\w+)", "The answer is Yes.", "yes"),
])  # fmt: skip
def test_the_last_match_is_the_answer(pattern, text, expected):
    assert last_match(pattern, text) == expected


def test_plain_answers():
    assert [plain(text) for text in (" 1,200. ", "Yes", "1,2")] == ["1200", "yes", "1,2"]


@pytest.mark.parametrize(("answers", "expected"), [
    (["a", "b", "b"], 1), (["a", "b", "b", "a"], 0), ([None, None, "c"], 2), ([None, None], 0),
    (["b", "a", None, "a"], 1),
])  # fmt: skip
def test_the_commonest_answer_and_of_equals_the_first(answers, expected):
    assert majority(answers) == expected


@pytest.mark.parametrize(("expression", "expected"), [
    ("12 * (3 + 4)", "84"), ("7 / 2", "3.5"), ("-3 - 4", "-7"), ("1,200 × 2", "2400"), ("7 // 2 + 7 % 4", "6"),
    ("2469135 / 4", "617283.75"), ("0.1 + 0.2", "0.3"), ("12345678901234567 + 1", "12345678901234568"),
    ("1 / 3", "0.333333333333"),
])  # fmt: skip
def test_the_calculator(expression, expected):
    assert calculator(expression) == expected


@pytest.mark.parametrize(
    "expression", ["__import__('os')", "2 ** 9999", "1 / 0", "(" * 300, "1e999", "a + 1", "", "True + 1", "1 +"]
)
def test_the_calculator_computes_nothing_else(expression):
    assert calculator(expression).startswith("error")


class Model:
    """Says what a function says of each prompt; keeps what it was asked."""

    def __init__(self, says, temperature=0.0, seed=0, asked=None):
        self.says, self.temperature, self.seed = says, temperature, seed
        self.asked = [] if asked is None else asked

    def drawing(self, temperature, seed):
        return Model(self.says, temperature, seed, self.asked)

    def ask(self, prompts, *, tokens, stops=()):
        self.asked += [(prompt, tokens, self.temperature, self.seed) for prompt in prompts]
        return [self.says(prompt, self) for prompt in prompts]


POOL = [Question(query=f"{n} and {n}?", answer=str(2 * n), rationale=f"{n} twice.") for n in range(10, 30)]
ASKED = [Question(query="2 and 2?", answer="4"), Question(query="red or blue sky?", answer="blue")]


def setting(says, seed=0):
    model = Model(says, seed=seed)
    return model, Setting(model, partial(last_match, r"\d+|blue|red"), POOL, seed, answer_tokens=5, reasoning_tokens=50)


DATA = {"name": "d", "file": "a", "examples": "b", "pattern": "x", "limit": 1, "answer_tokens": 1,
        "reasoning_tokens": 1}  # fmt: skip


def technique(tmp_path, kind, templates, **more):
    for name, text in templates.items():
        (tmp_path / f"{name}.txt").write_text(text)
    values = {"kind": kind, "name": kind, **{name: str(tmp_path / f"{name}.txt") for name in templates}, **more}
    problems = []
    tree = {"chat": True, "repeats": 1, "data": [DATA], "techniques": [values]}
    found = typed(Prompting, "prompting", tree, problems)
    assert not problems, problems
    return found.techniques[0]


def test_zero_shot(tmp_path):
    made = technique(tmp_path, "zero_shot", {"prompt": "Q {{ question }}"})
    model, asked = setting(lambda prompt, _: prompt.upper())
    assert [own.text for own in made.answer(ASKED, asked)] == ["Q 2 AND 2?", "Q RED OR BLUE SKY?"]
    assert model.asked[0] == ("Q 2 and 2?", 5, 0.0, 0)


SHOTS = {"prompt": "{{ examples }}|{{ question }}", "example": "{{ question }}={{ answer }}"}


def test_few_shot_by_seed(tmp_path):
    made = technique(tmp_path, "few_shot", SHOTS, shots=3)
    said = {seed: [own.trace[0] for own in made.answer(ASKED, setting(lambda *_: "x", seed)[1])] for seed in (0, 1)}
    assert said[0] != said[1]
    for prompts in said.values():
        examples, question = prompts[0].split("|")
        assert question == "2 and 2?"
        shown = examples.split("\n\n")
        assert len(set(shown)) == 3 and set(shown) < {f"{q.query}={q.answer}" for q in POOL}
        assert prompts[0].split("|")[0] != prompts[1].split("|")[0]  # every question has its own
    with pytest.raises(ValueError, match="21 examples"):
        replace(made, shots=21).answer(ASKED, setting(lambda *_: "x")[1])


def test_few_shot_by_likeness_shows_the_likest_last(tmp_path):
    made = technique(tmp_path, "few_shot", SHOTS, shots=2, select="similarity")
    question = Question(query="what are 17 and 17?", answer="34")
    assert made.answer([question], setting(lambda *_: "x")[1])[0].trace[0].split("|")[0].endswith("\n\n17 and 17?=34")


def test_examples_with_rationales_leave_room_to_reason(tmp_path):
    made = technique(tmp_path, "few_shot", SHOTS | {"example": "{{ question }} {{ rationale }} {{ answer }}"}, shots=1)
    model, asked = setting(lambda *_: "x")
    made.answer(ASKED, asked)
    assert "twice." in model.asked[0][0] and model.asked[0][1] == 50


def test_chain_of_thought_answers_behind_its_reasoning(tmp_path):
    made = technique(
        tmp_path,
        "chain_of_thought",
        {"reason": "{{ question }} Think.", "conclude": "{{ question }} {{ reasoning }} So:"},
    )
    model, asked = setting(lambda prompt, _: "because" if prompt.endswith("Think.") else "4")
    assert made.answer(ASKED, asked)[0].trace == ("2 and 2? Think.", "because", "2 and 2? because So:", "4")
    assert {tokens for _, tokens, _, _ in model.asked} == {5, 50}


def test_self_consistency_takes_the_commonest_of_draws(tmp_path):
    inner = {"kind": "zero_shot", "name": "inner", "prompt": str(tmp_path / "prompt.txt")}
    (tmp_path / "prompt.txt").write_text("{{ question }}")
    made = technique(tmp_path, "self_consistency", {}, technique=inner, samples=5, temperature=0.7)
    draws = {0: "5", 1: "4", 2: "nothing", 3: "it is 4", 4: "5 or 4"}
    model, asked = setting(lambda prompt, own: draws[own.seed])
    found = made.answer(ASKED[:1], asked)
    assert found[0].text == "4" and len(found[0].trace) == 10
    assert {(temperature, seed) for _, _, temperature, seed in model.asked} == {(0.7, seed) for seed in range(5)}


def test_generated_knowledge(tmp_path):
    texts = {"know": "Fact? {{ question }}", "conclude": "{{ knowledge }}: {{ question }}"}
    made = technique(tmp_path, "generated_knowledge", texts, statements=3, temperature=0.5)
    model, asked = setting(lambda prompt, own: f"fact {own.seed}" if prompt.startswith("Fact?") else
                           ("red" if prompt.startswith("fact 0") else "blue"))  # fmt: skip
    assert [own.text for own in made.answer(ASKED[1:], asked)] == ["blue"]
    assert ("fact 2: red or blue sky?", 5, 0.0, 0) in model.asked


def test_a_chain_hands_on_what_was_said(tmp_path):
    made = technique(
        tmp_path,
        "chain",
        {"first": "1 {{ question }}", "then": "2 {{ previous }}", "last": "3 {{ previous }} {{ question }}"},
    )
    _, asked = setting(lambda prompt, _: f"<{prompt}>")
    assert made.answer(ASKED[:1], asked)[0].text == "<3 <2 <1 2 and 2?>> 2 and 2?>"


def test_react_uses_a_tool_and_sees_what_it_gave(tmp_path):
    made = technique(tmp_path, "react", {"prompt": "{{ tools }}\nQ {{ question }}\n{{ steps }}"}, steps=4)

    def says(prompt, _):
        if "blue" in prompt:
            return "I know: blue"
        return "Done. Finish[4]" if "Observation: 4" in prompt else "Add. Action: calculator[2 + 2] and more"

    model, asked = setting(says)
    found = made.answer(ASKED, asked)
    assert [own.text for own in found] == ["4", "I know: blue"]
    assert model.asked[0][0].endswith("\nQ 2 and 2?\nThought:")
    step = "Thought:Add. Action: calculator[2 + 2]\nObservation: 4\nThought:"
    assert model.asked[2][0].endswith(f"\nQ 2 and 2?\n{step}")
    assert len(model.asked) == 3
    looping, asked = setting(lambda *_: "Action: calculator[1]")
    assert made.answer(ASKED, asked)[0].text == "" and len(looping.asked) == 8


def test_the_instruction_is_kept_that_does_best_on_other_questions(tmp_path):
    texts = {"propose": "Propose. {{ examples }}", "prompt": "{{ instruction }} {{ question }}"}
    numbers = {"proposals": 2, "shown": 3, "scored_on": 6, "temperature": 0.9}
    made = technique(tmp_path, "search", texts | {"example": "{{ question }}={{ answer }}"},
                     instructions=["guess", "guess again"], **numbers)  # fmt: skip

    def says(prompt, _):
        if prompt.startswith("Propose"):
            return "double\nand more"
        number = int(prompt.split()[-3]) if "sky" not in prompt else 0
        return str(2 * number) if prompt.startswith("double") else "0"

    model, asked = setting(says)
    found = made.answer(ASKED, asked)
    assert [own.text for own in found] == ["4", "0"]
    assert found[0].trace[:3] == ("0.000 guess", "0.000 guess again", "1.000 double")
    proposing = [prompt for prompt, *_ in model.asked if prompt.startswith("Propose")]
    scored = {prompt.removeprefix("guess ") for prompt, *_ in model.asked if prompt.startswith("guess ")} - {
        q.query for q in ASKED
    }
    shown = {line.partition("=")[0] for prompt in proposing for line in prompt.removeprefix("Propose. ").split("\n\n")}
    assert len(proposing) == 2 and not scored & shown


def test_templates_with_other_variables_are_named(tmp_path):
    made = technique(tmp_path, "chain_of_thought", {"reason": "{{ query }}", "conclude": "{{ question }}"})
    assert list(made.problems()) == [
        "chain_of_thought: reason: no value for query; question stands nowhere in it",
        "chain_of_thought: conclude: reasoning stands nowhere in it",
    ]


def test_two_techniques_of_one_name_are_refused(tmp_path):
    made = technique(tmp_path, "zero_shot", {"prompt": "{{ question }}"})
    one = {"kind": "zero_shot", "name": "a", "prompt": made.prompt}
    problems = []
    typed(Prompting, "prompting", {"chat": True, "repeats": 1, "data": [DATA], "techniques": [one, one]}, problems)
    assert "a stands there twice" in "".join(problems)


def test_sums_are_right_and_feelings_are_told_by_what_is_said():
    for row in distinct("sums", 200, random.Random(0)):
        first, second, third = map(int, re.findall(r"\d+", row["query"]))
        sign = -1 if "gives away" in row["query"] else 1
        assert int(row["answer"]) == first + second + sign * third >= 0
        assert row["rationale"].endswith(f"= {row['answer']}.")
    feelings = distinct("feelings", 100, random.Random(0))
    assert {row["answer"] for row in feelings} == {"positive", "negative"}
    assert all((row["answer"] == "negative") == bool(re.search("awful|waste|boring|terrible|worse|worst", row["query"]))
               for row in feelings)  # fmt: skip
    assert len({row["query"] for row in feelings}) == 100
    with pytest.raises(ValueError, match="no 2000 different feelings"):
        distinct("feelings", 2000, random.Random(0))
    assert set(SETS) == {"sums", "feelings"}

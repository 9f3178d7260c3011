"""EleutherAI's harness and our own tasks on the same files: its own model class on an exported folder, ours through
the adapter. Skipped where the harness is not installed (pip install '.[lm-eval]').
"""

import json
import os

import pytest
import torch

from components.checkpoints import load_gpt, load_tokenizer, save_model
from components.convert import export_folder
from components.data.templates.known import KNOWN
from components.evaluation.text_scorer import TextScorer
from components.harness import Chat, adapted, main, run
from components.models.config import GPTConfig
from components.models.transformer import GPT
from tests.components.test_item_tasks import PUBLIC, folder, task, write
from tests.components.test_templates import make

pytest.importorskip(
    "lm_eval", reason="EleutherAI's harness is an extra that is not installed: pip install '.[lm-eval]'"
)

ROWS = 60
COMMON = {"dataset_path": "json", "test_split": "test"}
CHOICE = COMMON | {"output_type": "multiple_choice"}
EXACT = [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]
NUMBER = "-?[0-9]+"


def rows_of(name, made):
    """The first rows of a public file where it is there, else made ones."""
    path = PUBLIC / name
    if not path.exists():
        return [made(number) for number in range(ROWS)]
    with path.open() as lines:
        return [json.loads(line) for line, _ in zip(lines, range(ROWS), strict=False)]


def choices():
    words = ["cat", "the mat", "one two", "sät 3", "x"]
    return [
        {"query": f"the {words[n % 5]} {n}\nAnswer:", "choices": words[n % 3 : n % 3 + 3], "gold": n % 3}
        for n in range(ROWS)
    ]


CASES = {
    "multiple_choice": (
        choices,
        {},
        CHOICE | {"doc_to_text": "{{query}}", "doc_to_choice": "{{choices}}", "doc_to_target": "gold",
                  "metric_list": [{"metric": m} for m in ("acc", "acc_norm", "acc_bytes", "acc_mutual_info")]},
        {"accuracy": "acc", "accuracy_per_character": "acc_norm", "accuracy_per_byte": "acc_bytes",
         "accuracy_unconditional": "acc_mutual_info"},
    ),
    "minimal_pairs": (
        lambda: rows_of("blimp/drop_argument.jsonl",
                        lambda n: {"sentence_good": f"the cat {n}", "sentence_bad": f"cat the {n}"}),
        {},
        CHOICE | {"doc_to_text": "", "doc_to_choice": "{{[sentence_good, sentence_bad]}}", "doc_to_target": 0,
                  "metric_list": [{"metric": "acc"}]},
        {"accuracy": "acc"},
    ),
    "cloze": (
        lambda: rows_of("gpt3-arithmetic/two_digit_addition.jsonl",
                        lambda n: {"context": f"\n\nQ: What is {n} plus 1?\n\nA:", "completion": f" {n + 1}"}),
        {},
        COMMON | {"output_type": "loglikelihood", "doc_to_text": "{{context}}", "doc_to_target": "{{completion}}",
                  "target_delimiter": "", "metric_list": [{"metric": "acc"}, {"metric": "perplexity"}]},
        {"accuracy": "acc", "perplexity": "perplexity"},
    ),
    "passages": (
        lambda: [{"text": f"the cat sat on\n the mat {n}, ä " * (1 + n % 7)} for n in range(ROWS)],
        {},
        COMMON | {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}",
                  "metric_list": [{"metric": m} for m in ("word_perplexity", "byte_perplexity", "bits_per_byte")]},
        {name: name for name in ("word_perplexity", "byte_perplexity", "bits_per_byte")},
    ),
    "exact_match": (
        lambda: [{"query": f"one two three {n} 2 3", "answer": str(n % 7)} for n in range(ROWS)],
        {"max_new_tokens": 12, "stops": ["a", "\n"], "pattern": NUMBER},
        COMMON | {"output_type": "generate_until", "doc_to_text": "{{query}}", "doc_to_target": "{{answer}}",
                  "generation_kwargs": {"until": ["a", "\n"], "max_gen_toks": 12, "do_sample": False},
                  "filter_list": [{"name": "number", "filter": [
                      {"function": "regex", "regex_pattern": f"({NUMBER})"}, {"function": "take_first"}]}],
                  "metric_list": EXACT},
        {"exact_match": "exact_match"},
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """The harness reads files through `datasets`, which keeps what it has read; what it says of the machine is slow."""
    import datasets  # noqa: PLC0415 (comes with the harness)

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)


def made(tmp_path, kind):
    """Our task and the harness's task file on the same rows, and a model."""
    rows, more, config, names = CASES[kind]
    path = write(tmp_path / "items.jsonl", rows())
    config = config | {"task": f"our_{kind}", "dataset_kwargs": {"data_files": {"test": str(path)}}}
    (tmp_path / "task.yaml").write_text(json.dumps(config))
    return task(kind, path, **more), names, folder(tmp_path, std=0.4)


def judged(model, path, tmp_path, **settings):
    """What the harness finds of the exported folder by its own model class."""
    from lm_eval import simple_evaluate  # noqa: PLC0415
    from lm_eval.models.huggingface import HFLM  # noqa: PLC0415
    from lm_eval.tasks import TaskManager  # noqa: PLC0415

    export_folder(model, tmp_path / "exported")
    judge = HFLM(pretrained=str(tmp_path / "exported"), device="cpu", batch_size=8, dtype="float32")
    return simple_evaluate(model=judge, tasks=[str(path)], task_manager=TaskManager(include_defaults=False), **settings)


def theirs(found, kind, metric):
    results = found["results"][f"our_{kind}"]
    return next(value for key, value in results.items() if key.split(",")[0] == metric)


def answers(found, kind):
    """What the model said to each request, as numbers or texts."""
    samples = sorted(found["samples"][f"our_{kind}"], key=lambda sample: sample["doc_id"])
    return [answer for sample in samples for answers in sample["resps"] for answer in answers]


@pytest.mark.parametrize("kind", CASES)
def test_our_figures_are_those_of_the_harness(tmp_path, kind):
    own, names, model = made(tmp_path, kind)
    expected = judged(model, tmp_path / "task.yaml", tmp_path)
    scorer = TextScorer(load_gpt(model), load_tokenizer(model))
    items = own.items()
    figures = own.figures(own.judge(scorer, items), None, items, seed=0)
    adapter = run(scorer, [str(tmp_path / "task.yaml")], shots=None, limit=None, settings={})
    for name, metric in names.items():
        assert figures[name] == pytest.approx(theirs(expected, kind, metric), rel=1e-4)
        assert theirs(adapter, kind, metric) == pytest.approx(theirs(expected, kind, metric), rel=1e-4)
    same_answers(adapter, expected, kind)


def same_answers(found, expected, kind):
    """Every log-likelihood, or every reply letter by letter."""
    own, other = answers(found, kind), answers(expected, kind)
    if CASES[kind][2]["output_type"] == "generate_until":
        assert own == other and any(own)
    else:
        flat = [[each if isinstance(each, float) else each[0] for each in said] for said in (own, other)]
        assert flat[0] == pytest.approx(flat[1], abs=1e-4)


def talker(tmp_path, format, tokenizer):
    """A model of a chat format, with room for a few examples."""
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    format.save(tmp_path)
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.get_vocab_size(), 400, num_layers=2, width=16, num_heads=2))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    save_model(tmp_path / "talker", model, tmp_path / "tokenizer.json")
    return tmp_path / "talker"


def asked(tmp_path, kind, **more):
    """A task file of a kind on clean rows, the examples of which are other rows of the file."""
    made_rows, _, config, _ = CASES[kind]
    path = write(tmp_path / "items.jsonl", made_rows()[:24])
    config = config | {"task": f"our_{kind}", "dataset_kwargs": {"data_files": {"test": str(path)}}}
    config |= {"fewshot_split": "test", "description": "Numbers and cats.", **more}
    (tmp_path / "task.yaml").write_text(json.dumps(config))
    return tmp_path / "task.yaml"


def agrees(tmp_path, model, path, kind, *, shots, chat):
    """Ours through the adapter, and the harness's own model class, on the same questions."""
    named = {name: getattr(chat, name) for name in ("apply_chat_template", "fewshot_as_multiturn")}
    named["system_instruction"] = chat.system_instruction
    expected = judged(model, path, tmp_path, num_fewshot=shots, **named)
    scorer = TextScorer(load_gpt(model), load_tokenizer(model))
    found = run(scorer, [str(path)], shots=shots, limit=None, settings={}, chat=chat)
    contexts = [[sample["arguments"][0][0] for sample in each["samples"][f"our_{kind}"]] for each in (found, expected)]
    assert contexts[0] == contexts[1]
    same_answers(found, expected, kind)
    return contexts[0][0]


@pytest.mark.parametrize("kind", ["multiple_choice", "cloze", "exact_match"])
@pytest.mark.parametrize(
    ("shots", "chat"),
    [(2, Chat()), (0, Chat(True)), (2, Chat(True)), (2, Chat(True, True, "Say it short."))],
    ids=["examples", "chat", "chat-examples", "chat-turns"],
)
def test_our_answers_are_those_of_the_harness_in_a_chat_and_with_examples(tmp_path, kind, shots, chat):
    format = KNOWN["lineage"]
    model = talker(tmp_path, format, make(format))
    context = agrees(tmp_path, model, asked(tmp_path, kind), kind, shots=shots, chat=chat)
    turns = 1 + shots * chat.fewshot_as_multiturn
    assert context.count("<|user|>") == turns * chat.apply_chat_template
    assert context.count("Say it short.") == (chat.system_instruction is not None)


@pytest.mark.parametrize("name", KNOWN)
def test_every_chat_format_asks_as_its_exported_template(tmp_path, name):
    model = talker(tmp_path, KNOWN[name], make(KNOWN[name]))
    path = asked(tmp_path, "multiple_choice", gen_prefix="It is")
    agrees(tmp_path, model, path, "multiple_choice", shots=2, chat=Chat(True, True, "Say it short."))


def test_the_command_runs_a_task_file(tmp_path, monkeypatch, capsys):
    own, _, model = made(tmp_path, "multiple_choice")
    monkeypatch.setattr("sys.argv", ["harness", str(model), "--tasks", str(tmp_path / "task.yaml"), "--limit", "10",
                                     "--out", str(tmp_path / "o.json")])  # fmt: skip
    main()
    assert "our_multiple_choice" in capsys.readouterr().out
    found = json.loads((tmp_path / "o.json").read_text())
    scorer = TextScorer(load_gpt(model), load_tokenizer(model))
    expected = own.judge(scorer, own.items()[:10])["accuracy"].totals
    assert theirs(found, "multiple_choice", "acc") == pytest.approx(sum(expected) / 10)


def test_sampling_is_refused(tmp_path):
    from lm_eval.api.instance import Instance  # noqa: PLC0415

    model = folder(tmp_path)
    asked = Instance(request_type="generate_until", doc={}, arguments=("x", {"do_sample": True}), idx=0)
    with pytest.raises(ValueError, match="asks for sampling"):
        adapted(TextScorer(load_gpt(model), load_tokenizer(model))).generate_until([asked])


@pytest.mark.parametrize("name", ["no_such_task.yaml"])
def test_a_task_that_is_not_there_is_named(tmp_path, name):
    model = folder(tmp_path)
    with pytest.raises(ValueError, match=r"no task file no_such_task\.yaml"):
        run(TextScorer(load_gpt(model), load_tokenizer(model)), [name], shots=None, limit=None, settings={})


def test_turns_need_a_conversation():
    with pytest.raises(ValueError, match="--turns needs --chat"):
        Chat(fewshot_as_multiturn=True)


def test_a_task_that_writes_around_a_conversation_is_refused(tmp_path):
    from lm_eval.api.instance import Instance  # noqa: PLC0415

    model = folder(tmp_path)
    judge = adapted(TextScorer(load_gpt(model), load_tokenizer(model)), Chat(True))
    written = judge.apply_chat_template([{"role": "user", "content": "the cat"}])
    for context in (written, "", written + " "):
        asked = Instance(request_type="loglikelihood", doc={}, arguments=(context, "sat"), idx=0)
        if context in (written, ""):
            assert judge.loglikelihood([asked])[0][0] < 0
        else:
            with pytest.raises(ValueError, match="puts text around a conversation"):
                judge.loglikelihood([asked])

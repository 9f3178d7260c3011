"""The matrix of models, question sets and techniques: every cell asked, kept, measured and shown."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.arithmetic import device_of, precision_of
from components.checkpoints import load_gpt, load_tokenizer
from components.data.records import RecordError
from components.evaluation.item_figures import Measured, difference, interval
from components.evaluation.items import groups_of, read_items
from components.evaluation.text_scorer import TextScorer
from components.progress import Progress
from components.prompting.asker import Asker, Cost
from components.prompting.board import write_board
from components.prompting.question import Question, last_match, plain
from components.prompting.technique import Said, Setting, Technique
from components.prompting.template import read_template
from components.work import Work

if TYPE_CHECKING:
    from components.stages.prompting import Prompting, QuestionSet

logger = logging.getLogger(__name__)
APART = 1000  # between the seeds of repeats: techniques count on from theirs


@dataclass(frozen=True)
class Cell:
    """What one technique said to one set's questions with one seed, and what it cost."""

    said: list[Said]
    cost: Cost

    def save(self, path: Path) -> None:
        """Write it whole, or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial_file = path.with_suffix(".partial")
        partial_file.write_text(json.dumps(asdict(self)))
        partial_file.rename(path)

    @classmethod
    def load(cls, path: Path) -> "Cell":
        """One that was saved."""
        found = json.loads(path.read_text())
        said = [Said(own["text"], tuple(own["trace"])) for own in found["said"]]
        return cls(said, Cost(**found["cost"]))


@dataclass(frozen=True)
class Asked:
    """A question set as it is asked."""

    params: "QuestionSet"
    questions: list[Question]
    pool: list[Question]

    @classmethod
    def read(cls, params: "QuestionSet") -> "Asked":
        """Raises: RecordError: rows break their schema, a question may be shown, or its answer is not one to find."""
        questions = read_items(Path(params.file), Question)[: params.limit]
        pool = read_items(Path(params.examples), Question)
        if shared := {q.query for q in questions} & {q.query for q in pool}:
            raise RecordError(f"{params.examples}: {min(shared)!r} is asked in {params.file}: it would tell its answer")
        for number, question in enumerate(questions, start=1):
            if last_match(params.pattern, question.answer) != plain(question.answer):
                raise RecordError(
                    f"{params.file}, question {number}: {params.name}.pattern does not find the answer "
                    f"{question.answer!r} in itself"
                )
        return cls(params, questions, pool)

    def hits(self, said: Sequence[Said]) -> list[tuple[str | None, bool]]:
        """What was found of an answer, and whether it is right."""
        found = [last_match(self.params.pattern, own.text) for own in said]
        return [(own, own == plain(question.answer)) for own, question in zip(found, self.questions, strict=True)]


def fill(work: "Work[Prompting]") -> None:
    """The whole stage.

    Raises:
        ValueError: a template is malformed or has other variables than it is given; all problems are listed.
        RecordError: rows of a file break their schema.
    """
    params = work.section
    if problems := [problem for each in params.techniques for problem in each.problems()]:
        raise ValueError("templates:\n" + "\n".join(f"  {problem}" for problem in problems))
    sets = [Asked.read(each) for each in params.data]
    rows: list[dict[str, Any]] = []
    lines: list[dict[str, Any]] = []
    total = len(work.read_all("models")) * len(sets) * len(params.techniques) * params.repeats
    with Progress(total, "cells") as progress:
        for model, folder in work.read_all("models").items():
            scorer: list[TextScorer] = []  # opened when the first cell asks
            for asked in sets:
                cells = {
                    each.name: [
                        _cell(work, model, folder, scorer, asked, each, n, progress) for n in range(params.repeats)
                    ]
                    for each in params.techniques
                }
                rows += _figures(model, asked, cells, work)
                lines += _answers(model, asked, cells)
    with work.path("answers.jsonl").open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_board(work.out, rows, work.name)
    _publish(work)
    work.tracker.log_table("matrix", rows, 0)
    for name in ("report.md", "plots"):
        work.tracker.log_file(work.path(name), "plots" if name == "plots" else "")


def _cell(
    work: "Work[Prompting]", model: str, folder: Path, scorer: list[TextScorer], asked: Asked, technique: Technique,
    number: int, progress: Progress,
) -> Cell:  # fmt: skip
    """A cell: read if it was asked before the stage was stopped."""
    path = work.state / "cells" / model / asked.params.name / technique.name / f"{number}.json"
    if not path.exists():
        if not scorer:
            network = load_gpt(folder).to(device_of(work))
            scorer.append(TextScorer(network, load_tokenizer(folder), precision_of(work)))
        length = min(scorer[0].context_length, work.limits.context_length)
        asker = Asker(scorer[0], work.section.chat, length, seed=work.seed + APART * number)
        setting = Setting(
            asker,
            partial(last_match, asked.params.pattern),
            asked.pool,
            asker.seed,
            asked.params.answer_tokens,
            asked.params.reasoning_tokens,
        )
        with work.rates.timed("sampling") as lap:
            Cell(technique.answer(asked.questions, setting), asker.cost).save(path)
            lap.tokens = asker.cost.reply_tokens
    cell = Cell.load(path)
    right = sum(hit for _, hit in asked.hits(cell.said))
    progress.advance(note=f"{asked.params.name}, {technique.name}: {right} of {len(asked.questions)}")
    return cell


def _figures(
    model: str, asked: Asked, cells: Mapping[str, Sequence[Cell]], work: "Work[Prompting]"
) -> Iterator[dict[str, Any]]:
    """A row a technique; its figures are added to the stage's."""
    groups = groups_of(asked.questions) * work.section.repeats
    measured, first = {}, next(iter(cells))
    for name, own in cells.items():
        hits = [hit for cell in own for hit in asked.hits(cell.said)]
        measured[name] = Measured([float(right) for _, right in hits], [1.0] * len(hits))
        figures = {
            f"accuracy{bound}": value for bound, value in interval(measured[name], groups, seed=work.seed).items()
        }
        if name != first:
            gap = difference(measured[name], measured[first], groups, seed=work.seed)
            figures |= {f"accuracy_difference{bound}": value for bound, value in gap.items()}
        figures["unanswered"] = sum(answer is None for answer, _ in hits) / len(hits)
        count = len(asked.questions) * len(own)
        for key in ("calls", "prompt_tokens", "reply_tokens"):
            figures[key] = sum(getattr(cell.cost, key) for cell in own) / count
        figures["cut"] = sum(cell.cost.cut for cell in own) / sum(cell.cost.calls for cell in own)
        work.metrics.setdefault(model, {}).setdefault(asked.params.name, {})[name] = figures
        yield {
            "model": model,
            "data": asked.params.name,
            "technique": name,
            "questions": len(asked.questions),
            **figures,
        }


def _answers(model: str, asked: Asked, cells: Mapping[str, Sequence[Cell]]) -> Iterator[dict[str, Any]]:
    for name, own in cells.items():
        for number, cell in enumerate(own):
            for question, said, (answer, right) in zip(asked.questions, cell.said, asked.hits(cell.said), strict=True):
                yield {
                    "model": model, "data": asked.params.name, "technique": name, "repeat": number,
                    "question": question.query, "expected": question.answer, "found": answer, "right": right,
                    "said": said.text, "trace": said.trace,
                }  # fmt: skip


def _publish(work: "Work[Prompting]") -> None:
    """Register the templates' texts under the pipeline's name, and note which they were."""
    digests = {}
    for path in sorted({path for each in work.section.techniques for path in each.templates()}):
        template = read_template(Path(path))
        digests[template.name] = template.digest
        work.tracker.register_prompt(f"{work.pipeline.name}-{template.name}", template.text)
    work.metrics["templates"] = digests

"""Measure models on files of items, and set one against another on the same items (docs/evaluation.md).

    python -m components.benchmark artifacts/sft/model --task '{kind: multiple_choice, name: sst2, file: sst2.jsonl}'
    python -m components.benchmark models:/gpt-ppo@candidate --against models:/gpt-sft@candidate \\
        --task '{kind: minimal_pairs, name: blimp, file: blimp.jsonl}' --out figures.json
    python -m components.benchmark artifacts/reward/model --task '{kind: reward_pairs, name: bench, file: pairs.jsonl}'
    python -m components.benchmark --convert sst2 dev.tsv sst2.jsonl

A model is a model folder or a registered version. A task is what `evaluate.tasks` in params.yaml takes: these kinds are
of files, the keys of whose rows are in brackets:

    multiple_choice [query, choices, gold]          delimiter: " "
    minimal_pairs   [sentence_good, sentence_bad]   delimiter: " "
    cloze           [context, completion]
    last_word       [context, completion]           words: 16
    gap             [before, after, choices, gold]
    exact_match     [query, answer]                 max_new_tokens: 64, stops: ["\\n"], beam: 4, pattern: '-?[0-9]+'
    translation     [source, target]                max_new_tokens: 64
    summary         [text, summary]                 hint: "\\nTL;DR:"
    dialogue        [messages, pattern]             max_new_tokens: 40; ours are in components/tasks/scripts
    passages        [text]                          detokenizer: wikitext
    reward_pairs    [prompt, chosen, rejected]      of a reward model

and one of them behind examples: {kind: few_shot, task: {kind: cloze, ...}, examples: FILE, shots: [0, 4]}.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from components import mlflow_store, yaml12
from components.checkpoints import CheckpointError, load_gpt, load_scalar, load_tokenizer
from components.data.records import RecordError
from components.evaluation.published import RECIPES, convert
from components.evaluation.reward_scorer import RewardScorer
from components.evaluation.text_scorer import TextScorer
from components.params import ParamsError
from components.sections.seam import Seam
from components.sections.values import typed
from components.tasks.few_shot import FewShotTask
from components.tasks.item_task import ItemTask

OfItems: TypeAlias = ItemTask | FewShotTask


def located(address: str) -> Path:
    """The local folder of a model folder or of a registered version.

    Raises:
        CheckpointError: there is none.
    """
    if not address.startswith(("models:/", "runs:/")):
        if not Path(address).is_dir():
            raise CheckpointError(f"{address!r} is neither a folder nor an address such as models:/gpt-sft@candidate")
        return Path(address)
    folder = mlflow_store.download_model(address)
    if folder is None:
        raise CheckpointError(f"no model at {address}; `make ui` shows the registered models under Models")
    return folder


def parse_task(text: str) -> OfItems:
    """A task of items from its parameters in YAML.

    Raises:
        ParamsError: it is none, or its parameters are wrong; all are listed.
    """
    problems: list[str] = []
    task = typed(Annotated[Any, Seam("components.tasks")], "--task", yaml12.load(text), problems)
    if problems:
        raise ParamsError("\n".join(problems))
    if not isinstance(task, ItemTask | FewShotTask) or task.inner.asks in ("classifiers", "tokens"):
        raise ParamsError(f"--task: {task.kind} measures what a pipeline makes, not a file; --help lists what does")
    return task


class Subject:
    """A model at an address, opened as each task asks for it."""

    def __init__(self, address: str, precision: str) -> None:
        self.folder, self.precision = located(address), precision
        self._opened: dict[str, Any] = {}

    def opened(self, asks: str) -> TextScorer | RewardScorer:
        """The model, as a language model or as a reward model."""
        if asks not in self._opened:
            tokenizer = load_tokenizer(self.folder)
            self._opened[asks] = (
                RewardScorer(load_scalar(self.folder), tokenizer, self.precision)
                if asks == "reward"
                else TextScorer(load_gpt(self.folder), tokenizer, self.precision)
            )
        return self._opened[asks]


def measure(subject: Subject, against: Subject | None, tasks: list[OfItems], *, seed: int) -> dict[str, Any]:
    """The figures of every task by its name.

    Raises:
        RecordError: rows of a file break their schema.
        CheckpointError: a folder holds another kind of model than a task asks.
    """
    figures = {}
    for task in tasks:
        asking = task.inner
        for name, items in task.sets(seed):
            own = asking.judge(subject.opened(asking.asks), items)
            other = asking.judge(against.opened(asking.asks), items) if against else None
            figures[name] = asking.figures(own, other, items, seed=seed)
    return figures


def table(figures: dict[str, Any], tasks: list[OfItems]) -> str:
    """The figures as lines of text."""
    lines = []
    asked = {task.inner.name: task.inner for task in tasks}
    for title, found in figures.items():
        task = asked[title.partition(".")[0]]
        lines.append(f"{title}: {found['items']} items of {task.file}")
        for name in task.measures:
            line = f"  {name:24} {found[name]:.4f}  [{found[f'{name}_low']:.4f}, {found[f'{name}_high']:.4f}]"
            if (gap := f"{name}_difference") in found:
                bounds = f"[{found[f'{gap}_low']:+.4f}, {found[f'{gap}_high']:+.4f}]"
                line += f"   difference {found[gap]:+.4f} {bounds}, p {found[f'{gap}_p']:.4f}"
            lines.append(line)
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="model folder or registered version")
    parser.add_argument("--against", metavar="MODEL", help="another one, on the same items: differences with p")
    parser.add_argument("--task", action="append", default=[], metavar="YAML", help="as above; may be repeated")
    parser.add_argument("--precision", default="32-true", help="a name of Lightning's (default: 32-true)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap and the permutations (default: 0)")
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    published = f"write a published file as items: {', '.join(RECIPES)}"
    parser.add_argument("--convert", nargs=3, metavar=("NAME", "FROM", "TO"), help=published)
    arguments = parser.parse_args()
    try:
        if arguments.convert:
            name, source, target = arguments.convert
            print(f"wrote {convert(name, Path(source), Path(target))} rows to {target}")
            return
        if not arguments.model or not arguments.task:
            parser.error("name a model and at least one --task")
        tasks = [parse_task(text) for text in arguments.task]
        against = Subject(arguments.against, arguments.precision) if arguments.against else None
        figures = measure(Subject(arguments.model, arguments.precision), against, tasks, seed=arguments.seed)
    except (ParamsError, CheckpointError, RecordError, ValueError, OSError) as error:
        sys.exit(str(error))
    print(table(figures, tasks))
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()

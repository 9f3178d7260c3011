"""Ask people: sample replies of a model to prompts that were not asked before, as tasks of the journal.

    python -m components.labeling.ask --round 1 --model models:/gpt-sft/3
    python -m components.labeling.ask --round 2 --model artifacts/ppo/model --tasks 300 --overlap 0.2
    python -m components.labeling.ask --round 1 --demonstrations 20

This is no stage, and what it writes is no output of one: sampled anew, replies would lose the answers that people gave.
How replies are sampled, and how long prompts may be, is what the parameter file says of `generation` and `limits`.
"""

import argparse
import logging
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from components import mlflow_store
from components import params as parameters
from components.checkpoints import CheckpointError, load_gpt, load_tokenizer, recorded_precision
from components.data.digests import file_md5, hash_fraction
from components.data.records import Prompt, RecordError, as_chat, group_of, read_records
from components.labeling.answers import Source, Task
from components.labeling.journal import PATH, Journal, JournalError
from components.models.precision import resolve, training_device
from components.models.replies import EncodedPrompt, Reply, sample_all
from components.progress import Progress
from components.provenance import weights_sha256
from components.sections.generation import Generation
from components.sections.limits import Limits

PROMPTS = Path("artifacts/prepare/prompts/compare.jsonl")


class AskError(ValueError):
    """Nothing can be asked; the message says why."""


@dataclass(frozen=True)
class Asked:
    """What a call asks for.

    Attributes:
        replies: sampled a prompt, K; of identical ones one is shown.
        overlap: the share of tasks that two people are asked.
        repeats: the share of tasks that a worker is asked a second time, later.
        command: what asked, kept with each task.
    """

    round: int
    replies: int
    seed: int
    overlap: float
    repeats: float
    command: str


def fresh(path: Path, tasks: Iterable[Task], count: int) -> list[Prompt]:
    """The first prompts of a file that no task has asked about.

    Raises:
        AskError: there are fewer.
        RecordError: rows of the file break their schema.
    """
    known = {task.prompt_id for task in tasks}
    found = list(islice((row for row in read_records(path, Prompt) if row.id not in known), count))
    if len(found) < count:
        raise AskError(f"{path} has {len(found)} prompts that were not asked before, not {count}")
    return found


def ranking_tasks(
    asked: Asked, model: str, folder: Path, prompts: Sequence[Prompt], generation: Generation, limits: Limits
) -> Iterator[Task]:
    """A task for each prompt to which the model, kept in a folder, has two different things to say.

    Raises:
        CheckpointError: the folder holds no language model.
    """
    source = Source(
        model=model, weights_sha256=weights_sha256(folder), tokenizer_md5=file_md5(folder / "tokenizer.json"),
        seed=asked.seed, temperature=float(generation.temperature), top_k=generation.top_k,
        top_p=float(generation.top_p),
    )  # fmt: skip
    for prompt, texts, replies in _sample(asked, folder, prompts, generation, limits):
        places = [place for place, text in enumerate(texts) if text and text not in texts[:place]]
        if len(places) < 2:
            continue
        name = _name(asked.round, "ranking", prompt)
        yield Task(
            id=name, round=asked.round, kind="ranking", prompt_id=prompt.id, group=group_of(prompt),
            messages=prompt.messages, replies=tuple(texts[place] for place in places),
            sampled=tuple(tuple(replies[place].ids) for place in places),
            ended=tuple(replies[place].ended for place in places), sources=(source,) * len(places),
            workers=2 if hash_fraction(name, "overlap") < asked.overlap else 1,
            again=hash_fraction(name, "again") < asked.repeats,
            created_at=round(time.time(), 3), asked_by=asked.command,
        )  # fmt: skip


def demonstration_tasks(asked: Asked, prompts: Iterable[Prompt]) -> Iterator[Task]:
    """A task for each prompt, to be answered in a person's own words."""
    for prompt in prompts:
        yield Task(
            id=_name(asked.round, "demonstration", prompt), round=asked.round, kind="demonstration",
            prompt_id=prompt.id, group=group_of(prompt), messages=prompt.messages, created_at=round(time.time(), 3),
            asked_by=asked.command,
        )  # fmt: skip


def _name(number: int, kind: str, prompt: Prompt) -> str:
    return f"round-{number:02d}-{kind}-{prompt.id}"


def _sample(
    asked: Asked, folder: Path, prompts: Sequence[Prompt], generation: Generation, limits: Limits
) -> Iterator[tuple[Prompt, list[str], list[Reply]]]:
    device = training_device("auto")
    model, tokenizer = load_gpt(folder).to(device), load_tokenizer(folder)
    encoded = [
        EncodedPrompt(prompt.id, prompt.messages, tokenizer.encode_prompt(as_chat(prompt.messages),
                      max_tokens=limits.max_prompt_tokens), group_of(prompt))
        for prompt in prompts
    ]  # fmt: skip
    with Progress(len(prompts) * asked.replies, "replies") as progress:
        replies = sample_all(
            model,
            tokenizer,
            [each for each in encoded for _ in range(asked.replies)],
            generation,
            precision=resolve(recorded_precision(folder) or "auto", device),
            seed=asked.seed,
            progress=progress,
        )
    for place, prompt in enumerate(prompts):
        own = replies[place * asked.replies : (place + 1) * asked.replies]
        yield prompt, [reply.text(tokenizer) for reply in own], own


def ask(arguments: argparse.Namespace, journal: Journal) -> str:
    """Do what the command line asks; what was asked, in a sentence.

    Raises:
        AskError, CheckpointError, JournalError, ParamsError, RecordError: it cannot be done; nothing was asked.
    """
    asked = Asked(
        arguments.round, arguments.replies, arguments.seed, arguments.overlap, arguments.repeats,
        shlex.join(["python", "-m", "components.labeling.ask", *sys.argv[1:]]),
    )  # fmt: skip
    wanted = arguments.tasks if arguments.model else 0
    prompts = fresh(arguments.prompts, journal.tasks(), wanted + arguments.demonstrations)
    tasks: list[Task] = []
    if wanted:
        tree = parameters.read_tree(arguments.params)
        generation = parameters.of_section(tree, "generation", Generation, source=str(arguments.params))
        limits = parameters.of_section(tree, "limits", Limits, source=str(arguments.params))
        model, folder = found(arguments.model)
        tasks += ranking_tasks(asked, model, folder, prompts[:wanted], generation, limits)
    rankings = len(tasks)
    tasks += demonstration_tasks(asked, prompts[wanted:])
    journal.add(tasks)
    alike = f" ({wanted - rankings} prompts left out: all replies alike)" if rankings < wanted else ""
    return f"round {asked.round}: asked for {rankings} rankings{alike} and {len(tasks) - rankings} demonstrations"


def found(address: str) -> tuple[str, Path]:
    """What a model is looked up by, an alias as the version that it is now, and where its files lie on this machine.

    Raises:
        AskError: there is none.
    """
    if not address.startswith("models:/"):
        return address, Path(address)
    try:
        facts, folder = mlflow_store.version_facts(address), mlflow_store.download_model(address)
    except ValueError as error:
        raise AskError(str(error)) from None
    if facts is None or folder is None:
        raise AskError(f"the registry has no {address}; `make ui` shows its models")
    return f"{facts.name}/{facts.version}", folder


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m components.labeling.ask", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--round", type=_number(1, 99), required=True, help="1, 2 and so on")
    parser.add_argument("--model", metavar="ADDRESS", help="models:/gpt-ppo/3, models:/gpt-ppo@candidate or a folder")
    parser.add_argument("--tasks", type=_number(1, 100_000), default=200, help="rankings to ask for (200)")
    parser.add_argument("--replies", type=_number(2, 9), default=4, help="K, replies to rank a task (4)")
    parser.add_argument("--demonstrations", type=_number(0, 100_000), default=0, help="to be written by people (0)")
    parser.add_argument("--overlap", type=_share, default=0.1, help="share of tasks that two people are asked (0.1)")
    parser.add_argument("--repeats", type=_share, default=0.08, help="share that a person is asked twice (0.08)")
    parser.add_argument("--seed", type=_number(0, 2**32 - 1), default=0, help="of sampling (0)")
    parser.add_argument("--prompts", type=Path, default=PROMPTS, metavar="FILE", help=f"({PROMPTS})")
    parser.add_argument("--params", type=Path, default=parameters.PARAMS_FILE, metavar="FILE", help="(params.yaml)")
    parser.add_argument("--journal", type=Path, default=PATH, metavar="FILE", help=f"({PATH})")
    return parser


def _number(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {low} to {high}")
        return int(text)

    return number


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share from 0 to 1")
    return share


def main() -> None:
    """The command line."""
    parser = _parser()
    arguments = parser.parse_args()
    if not arguments.model and not arguments.demonstrations:
        parser.error("--model whose replies are ranked, --demonstrations, or both")
    logging.basicConfig(level=logging.INFO, format="[ask] %(message)s", stream=sys.stdout)
    try:
        journal = Journal(arguments.journal)
        print(ask(arguments, journal))
        journal.close()
    except FileNotFoundError as error:
        sys.exit(f"ask: {error.filename} is not there")
    except (AskError, CheckpointError, JournalError, parameters.ParamsError, RecordError) as error:
        sys.exit(f"ask: {error}")
    except KeyboardInterrupt:
        sys.exit("ask: stopped; nothing was asked")


if __name__ == "__main__":
    main()

"""EleutherAI's evaluation harness asks our models (pip install '.[lm-eval]' -c constraints.txt).

    python -m components.harness artifacts/sft/model --tasks mine.yaml             # a task file; works offline
    python -m components.harness models:/gpt-sft@candidate --tasks blimp arc_easy  # the harness's own; from the hub
    python -m components.harness imported/ --tasks gsm8k --shots 5 --limit 100 --out results.json
    python -m components.harness artifacts/ppo/model --tasks mine.yaml --shots 2 --chat --turns --system 'Be brief.'

A model is a model folder or a registered version; `python -m components.convert import` makes a model folder of one of
`transformers`. A task file is the harness's own kind of YAML; of a file of items it needs no more than

    task: mine
    dataset_path: json
    dataset_kwargs: {data_files: {test: items.jsonl}}
    test_split: test
    output_type: multiple_choice
    doc_to_text: "{{query}}"
    doc_to_choice: "{{choices}}"
    doc_to_target: gold
    metric_list: [{metric: acc}, {metric: acc_norm}]

Task files can name functions of Python files beside them, which then run: use those that you would run. Texts go in as
they are; with --chat a question is the user's turn in the model's own chat format and what is scored or said is the
assistant's, and no text of a question or an answer ever becomes a marker. Replies are greedy; a task that asks for
sampling is refused.
"""

import argparse
import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.benchmark import Subject
from components.checkpoints import CheckpointError, untrained_tokens
from components.data.chat_format import Messages
from components.evaluation.text_scorer import Conversation, TextScorer

ROOM = 0.5  # of the context, at most, for a reply whose task does not say how long it may be
REPLY = 256  # tokens: the harness's own default


@dataclass(frozen=True)
class Chat:
    """How the harness puts questions to a chat model, by its own names."""

    apply_chat_template: bool = False
    fewshot_as_multiturn: bool = False
    system_instruction: str | None = None

    def __post_init__(self) -> None:
        """Raises: ValueError: turns without a conversation."""
        if self.fewshot_as_multiturn and not self.apply_chat_template:
            raise ValueError("examples as turns are turns of a conversation: --turns needs --chat")


PLAIN = Chat()


def adapted(scorer: TextScorer, chat: Chat = PLAIN) -> Any:
    """A model as the harness knows models: an `lm_eval.api.model.LM` that hands its questions to a TextScorer.

    Raises:
        ImportError: the harness is not installed.
    """
    from lm_eval.api.model import LM  # noqa: PLC0415 (an extra)

    class Adapter(LM):
        """Answers in the order of the requests; batches, windows and cuts are the scorer's."""

        @property
        def max_length(self) -> int:
            return scorer.context_length

        @property
        def max_gen_toks(self) -> int:
            return min(REPLY, int(ROOM * scorer.context_length))

        @property
        def tokenizer_name(self) -> str:
            files = scorer.tokenizer.tokenizer.to_str() + scorer.tokenizer.format.jinja()
            return hashlib.sha256(files.encode()).hexdigest()

        def chat_template(self, chat_template: bool | str = False) -> str:
            return scorer.tokenizer.format.jinja() if chat_template else ""

        def apply_chat_template(self, chat_history: Messages, add_generation_prompt: bool = True) -> Conversation:
            return scorer.conversation(chat_history, cue=add_generation_prompt)

        def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
            found = scorer.likelihoods([(_context(request, chat), request.args[1]) for request in requests])
            return [(own.logprob, own.greedy) for own in found]

        def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
            return scorer.text_likelihoods([request.args[0] for request in requests])

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            settings: dict[str, list[int]] = {}
            for place, request in enumerate(requests):
                settings.setdefault(json.dumps(request.args[1], sort_keys=True), []).append(place)
            replies: dict[int, str] = {}
            for places in settings.values():
                stops, longest = _asked(requests[places[0]].args[1], self.max_gen_toks)
                prompts = [_context(requests[place], chat) for place in places]
                said = scorer.replies(prompts, stops=stops, max_new_tokens=longest)
                replies |= dict(zip(places, said, strict=True))
            return [replies[place] for place in range(len(requests))]

    return Adapter()


def _context(request: Any, chat: Chat) -> str:
    """What a request is asked after: a conversation, or nothing, wherever the harness was given a chat format."""
    context: str = request.args[0]
    if chat.apply_chat_template and context and not isinstance(context, Conversation):
        raise ValueError(
            f"the task {request.task_name} puts text around a conversation ({context[-40:]!r}), so that it cannot be "
            "told what of it are markers: leave --chat out"
        )
    return context


def _asked(settings: dict[str, Any], usual: int) -> tuple[list[str], int]:
    """Where replies stop and how long they may be."""
    if settings.get("do_sample") or float(settings.get("temperature") or 0.0) > 0:
        raise ValueError(f"the task asks for sampling ({settings}); replies are greedy: --greedy takes its wish away")
    until = settings.get("until") or []
    longest = next(
        (settings[key] for key in ("max_gen_toks", "max_new_tokens", "max_tokens") if key in settings), usual
    )
    return [stop for stop in ([until] if isinstance(until, str) else until) if stop], int(longest)


def run(
    scorer: TextScorer,
    tasks: list[str],
    *,
    shots: int | None,
    limit: int | None,
    settings: dict[str, Any],
    chat: Chat = PLAIN,
) -> dict[str, Any]:
    """What the harness finds, as its `simple_evaluate` returns it.

    Args:
        tasks: names of the harness's tasks, which may hold *, or paths of task files.
        shots: examples before each question; None for what each task says.
        limit: the first so many questions of each task.
        settings: what replaces tasks' own settings of generation.
        chat: whether and how questions are put in the model's chat format.

    Raises:
        ImportError: the harness is not installed.
        ValueError: there is no such task, or one asks what cannot be answered.
    """
    from lm_eval import simple_evaluate  # noqa: PLC0415 (an extra)

    manager, names = _found(tasks)
    found: dict[str, Any] = simple_evaluate(
        model=adapted(scorer, chat),
        tasks=names,
        task_manager=manager,
        num_fewshot=shots,
        limit=limit,
        gen_kwargs=settings or None,
        **asdict(chat),
    )
    return found


def _found(tasks: list[str]) -> tuple[Any, list[str]]:
    """The harness's index of tasks, and the names and files in it that are meant."""
    from lm_eval.tasks import TaskManager  # noqa: PLC0415

    files = [name for name in tasks if name.endswith((".yaml", ".yml"))]
    if missing := [name for name in files if not Path(name).is_file()]:
        raise ValueError(f"there is no task file {', '.join(missing)}")
    # Its index of its own thousands of tasks takes half a minute: built only where one of them is asked for.
    manager = TaskManager(include_defaults=len(files) < len(tasks))
    named = {name: [name] if name in files else manager.match_tasks([name]) for name in tasks}
    if missing := [name for name, found in named.items() if not found]:
        raise ValueError(
            f"the harness has no task {', '.join(missing)}, and no .yaml file is meant; `lm-eval ls tasks`"
        )
    return manager, [name for matches in named.values() for name in matches]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="model folder or registered version")
    parser.add_argument("--tasks", nargs="+", required=True, metavar="TASK", help="names, or paths of task files")
    parser.add_argument("--shots", type=int, help="examples before each question (default: what the task says)")
    parser.add_argument("--limit", type=int, help="the first so many questions of each task")
    parser.add_argument("--chat", action="store_true", help="put questions in the model's chat format")
    parser.add_argument("--turns", action="store_true", help="examples as turns of the conversation, not as one text")
    parser.add_argument("--system", metavar="TEXT", help="a system message before a task's own description")
    parser.add_argument("--greedy", action="store_true", help="take the likeliest token though a task would sample")
    parser.add_argument("--precision", default="32-true", help="a name of Lightning's (default: 32-true)")
    parser.add_argument("--out", type=Path, help="also write results and every answer as JSON")
    arguments = parser.parse_args()
    try:
        from lm_eval.utils import make_table  # noqa: PLC0415 (an extra)

        chat = Chat(arguments.chat, arguments.turns, arguments.system)
        subject = Subject(arguments.model, arguments.precision)
        scorer = subject.opened("models")
        assert isinstance(scorer, TextScorer)
        if arguments.chat and (unseen := untrained_tokens(subject.folder)):
            print(f"{arguments.model} has never seen {', '.join(unseen)} of its chat format", file=sys.stderr)
        settings = {"do_sample": False, "temperature": 0.0} if arguments.greedy else {}
        found = run(scorer, arguments.tasks, shots=arguments.shots, limit=arguments.limit, settings=settings, chat=chat)
    except ImportError as error:
        sys.exit(f"the evaluation harness is not installed ({error}): pip install '.[lm-eval]' -c constraints.txt")
    except (CheckpointError, ValueError, OSError) as error:
        sys.exit(str(error))
    print(make_table(found))
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()

"""Who judges the replies of an evaluation, and what nobody can judge.

| referee | what it is | when |
|---|---|---|
| gold | the simulated labeler's own function (components/labeling/gold.py) | the labeler is simulated |
| judge | a reward model of that half of the user's comparisons that nothing else sees | the labeler is a file |
| typicality | how much a reply reads like people's (components/evaluation/typicality.py) | enough held-out replies |
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from components.arithmetic import device_of, precision_of
from components.checkpoints import load_scalar
from components.data.chat import ChatTokenizer
from components.data.records import RecordError
from components.data.sequences import pack
from components.evaluation.typicality import Typicality
from components.labeling.gold import Gold
from components.models.precision import autocast
from components.models.replies import EncodedPrompt, Reply
from components.models.scoring import sequence_scores
from components.work import Work

logger = logging.getLogger(__name__)
Scores = Callable[[Sequence[EncodedPrompt], Sequence[Reply]], list[float]]

HELD_OUT = ("validation", "test")


@dataclass(frozen=True)
class Court:
    """The referees by name, the one whose taste the labeler has first; which are another labeler's; and for each
    figure that these data do not allow, why.
    """

    referees: dict[str, Scores]
    inapplicable: list[str]
    left_out: dict[str, str]


def open_court(stage: Work[Any], tokenizer: ChatTokenizer) -> Court:
    """The referees that this lineage's data allow."""
    referees: dict[str, Scores] = {}
    inapplicable: list[str] = []
    left_out: dict[str, str] = {}
    folders = list(stage.read_all("demonstrations").values())
    kinds = [json.loads(path.read_text())["kind"] for path in stage.read_all("labeler").values()]
    if "simulated" in kinds:
        gold = Gold.of_demonstrations(folders[0] / "train.jsonl")
        referees["gold"] = lambda prompts, replies: [
            gold.score(prompt.user, reply.text(tokenizer)) for prompt, reply in zip(prompts, replies, strict=True)
        ]
        inapplicable.append("judge")
    elif "file" in kinds:
        referees["judge"] = scalar_scores(stage, next(iter(stage.read_all("judge").values())), tokenizer)
        left_out["gold"] = "the labeler is a file: what its people like has no formula"
        left_out["share_of_ceiling"] = "the labeler is a file: how often its people contradict themselves is not known"
    if not folders:
        return Court(referees, inapplicable, left_out)
    try:
        people = Typicality.of_demonstrations(*(folder / f"{split}.jsonl" for folder in folders for split in HELD_OUT))
        referees["typicality"] = lambda _, replies: [people.score(reply.text(tokenizer)) for reply in replies]
    except RecordError as error:
        left_out["typicality"] = str(error)
        logger.warning("typicality is left out: %s", error)
    return Court(referees, inapplicable, left_out)


def scalar_scores(stage: Work[Any], folder: Path, tokenizer: ChatTokenizer) -> Scores:
    """The reward model of a folder as a function of prompts and replies."""
    device, precision = device_of(stage), precision_of(stage)
    model = load_scalar(folder).to(device)
    batch_size = stage.section.batch_size

    @torch.no_grad()
    def score(prompts: Sequence[EncodedPrompt], replies: Sequence[Reply]) -> list[float]:
        scores: list[float] = []
        for start in range(0, len(prompts), batch_size):
            part = slice(start, start + batch_size)
            batch = pack([p.ids for p in prompts[part]], [r.ids for r in replies[part]], pad_id=tokenizer.pad)
            with autocast(precision, device):
                scores += sequence_scores(model, batch.to(device)).tolist()
        return scores

    return score

"""FeedME: fine-tune the SFT model on its own best-ranked replies (rejection sampling; OpenAI's text-davinci-002).

Of the replies that compare had ranked, those that share the first place are imitated: best-of-K sampling, put into
the weights. No reward model and no reinforcement learning. Writes `artifacts/feedme/model/`, registered as
`gpt-feedme`.
"""

from collections.abc import Iterable

import torch

from components.checkpoints import load_gpt, load_tokenizer, save_model
from components.data.chat import EncodedChat
from components.data.comparisons import EncodedComparison, load_comparisons
from components.data.demonstrations import DemonstrationRows, pad_rows
from components.models.transformer import GPT
from components.runtime import Work
from components.stage import Curve, Kind, Stage
from components.training.fit import fit, seed_of
from components.training.imitation import ImitationModule

STAGE = Stage(
    reads={"policy": Kind.LANGUAGE_MODEL, "train": Kind.COMPARISONS, "validation": Kind.COMPARISONS},
    makes={"model": Kind.LANGUAGE_MODEL},
    params=("seed", "compute", "feedme", "generation.max_new_tokens", "prepare.max_prompt_tokens"),
    curves={"history.csv": Curve("step", "train/loss")},
)


def best_replies(comparisons: Iterable[EncodedComparison], *, pad_id: int, width: int) -> DemonstrationRows:
    """The first-ranked replies of each prompt as training rows."""
    pieces = [
        EncodedChat(c.prompt + reply, [False] * len(c.prompt) + [True] * len(reply))
        for c in comparisons
        for reply, rank in zip(c.replies, c.ranks, strict=True)
        if rank == min(c.ranks)
    ]
    return pad_rows(pieces, pad_id=pad_id, width=width)


def feedme(stage: Work) -> None:
    """The whole stage."""
    params, start = stage.params, stage.read("policy")
    torch.manual_seed(seed_of(stage))
    tokenizer = load_tokenizer(start)
    longest = params.prepare.max_prompt_tokens + params.generation.max_new_tokens
    train, validation = (
        best_replies(
            load_comparisons(
                stage.read(split),
                tokenizer,
                max_prompt_tokens=params.prepare.max_prompt_tokens,
                max_reply_tokens=params.generation.max_new_tokens,
            )[0],
            pad_id=tokenizer.pad,
            width=longest,
        )
        for split in ("train", "validation")
    )
    module = ImitationModule(stage, load_gpt(start).train(), params.feedme, train=train, validation=validation)
    stage.metrics["untuned"] = module.validate()
    fit(
        stage,
        module,
        checkpoint_interval=params.feedme.checkpoint_interval,
        validate_every=params.feedme.validation_interval,
    )
    stage.metrics |= {"rows": len(train.input_ids), "validation": {"loss": module.validate()["validation/loss"]}}
    model: GPT = module.network  # type: ignore[assignment]
    save_model(stage.path("model"), model, start / "tokenizer.json", precision=module.precision)
    stage.tracker.register_model(stage.path("model"))

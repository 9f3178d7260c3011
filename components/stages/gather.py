"""Gather: people's answers become comparisons and demonstrations, with what is known of how they came about.

Reads an export of the journal of labelling (`labels/` or one round of it, raw input versioned by `labels.dvc`). Writes
records as other stages read them, one a ranking, and beside them who gave each, in which order the replies were shown,
by which weights they were sampled, and how long it took. The figures say how far labelers agree with each other and
with themselves, and whether the order shown decided. A skip is no ranking; gold tasks and repetitions train nothing.
"""

from typing import TYPE_CHECKING, Any, Literal

from components.sections.base import Fraction, section
from components.stage import Kind, Stage

if TYPE_CHECKING:
    from components.work import Work


@section
class Gather:
    """Whose answers are taken; a worker who answered no gold task has qualified."""

    qualification: Fraction  # of the pairs of gold tasks that are known, the share that a worker must order as known
    flagged: Literal["keep", "leave_out"]  # a worker who prefers whatever is shown first


def run(work: "Work[Gather]") -> None:
    """The whole stage."""
    from components.data.digests import file_md5
    from components.data.records import write_records
    from components.labeling import gathering
    from components.labeling.answers import write

    labels = gathering.load(work.read("labels"))
    left_out = gathering.left_out(labels, qualification=work.section.qualification, flagged=work.section.flagged)
    taken = labels.without(left_out)
    tokenizer = file_md5(work.read("tokenizer"))
    comparisons, demonstrations = gathering.comparisons(taken, tokenizer), gathering.demonstrations(taken)
    write_records(work.path("comparisons.jsonl"), [each.record for each in comparisons])
    write_records(work.path("demonstrations.jsonl"), [each.record for each in demonstrations])
    write(work.path("feedback.jsonl"), taken.feedback)
    gathering.write_provenance(work.path("provenance.jsonl"), [*comparisons, *demonstrations])
    work.metrics |= gathering.counts(labels) | {"left_out": len(left_out)}
    work.metrics |= {"comparisons": len(comparisons), "demonstrations": len(demonstrations)}
    work.metrics |= _agreement(labels.answers) | gathering.by_worker(labels)


def _agreement(answers: list[Any]) -> dict[str, Any]:
    """How far labelers agree, with intervals over tasks; what cannot be measured is left out."""
    from components.evaluation.intervals import bootstrap_mean
    from components.labeling.agreement import alpha_of, between_workers, first_place, with_themselves

    figures: dict[str, Any] = {}
    for name, counts in (("agreement", between_workers(answers)), ("self_agreement", with_themselves(answers))):
        equal, decided = [each.equal for each in counts.values()], [each.decided for each in counts.values()]
        if sum(decided):
            share, low, high = bootstrap_mean(equal, decided, seed=0)
            figures[name] = {"share": share, "low": low, "high": high, "tasks": len(counts), "pairs": sum(decided)}
    if (alpha := alpha_of(answers)) is not None:
        figures["agreement"] = figures.get("agreement", {}) | {"alpha": alpha}
    if (place := first_place(answers)) is not None:
        figures["first_place"] = {"share": place.share, "low": place.low, "high": place.high, "chance": place.chance}
    return figures


STAGE = Stage(
    Gather,
    run,
    reads={"labels": Kind.LABELS, "tokenizer": Kind.TOKENIZER},
    makes={
        "comparisons.jsonl": Kind.COMPARISONS,
        "demonstrations.jsonl": Kind.DEMONSTRATIONS,
        "feedback.jsonl": Kind.FEEDBACK,
        "provenance.jsonl": Kind.PROVENANCE,
    },
)

"""Portion: every n-th prompt of a file, so that rounds of comparisons ask about different prompts."""

from typing import TYPE_CHECKING

from components.sections.base import Count, section
from components.stage import Kind, Stage

if TYPE_CHECKING:
    from components.work import Work


@section
class Portion:
    """The prompts at places part, part + parts, part + 2 parts and so on; the first place is 1."""

    part: Count
    parts: Count


def run(work: "Work[Portion]") -> None:
    """The whole stage."""
    from components.data.records import Prompt, RecordError, read_records, write_records

    params = work.section
    if params.part > params.parts:
        raise RecordError(f"{work.name}: there is no part {params.part} of {params.parts}")
    prompts = list(read_records(work.read("prompts"), Prompt))[params.part - 1 :: params.parts]
    write_records(work.path("prompts.jsonl"), prompts)
    work.metrics["prompts"] = len(prompts)


STAGE = Stage(Portion, run, reads={"prompts": Kind.PROMPTS}, makes={"prompts.jsonl": Kind.PROMPTS})

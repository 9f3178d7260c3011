"""Having every task measure what an evaluating node is fed; then the gates, and the report."""

import json
import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from components.evaluation.report import write_report
from components.figures import headlines
from components.gates import Verdict, look_up, verdicts
from components.lineage import StageRecord
from components.progress import Progress
from components.tasks.bench import Bench
from components.work import Work

if TYPE_CHECKING:
    from components.stages.evaluate import Evaluate

logger = logging.getLogger(__name__)


def evaluate(work: "Work[Evaluate]") -> None:
    """The whole stage."""
    bench = Bench(work)
    figures: dict[str, Any] = defaultdict(dict)
    with Progress(len(work.section.tasks), "evaluations") as progress:
        for task in work.section.tasks:
            task.measure(bench, figures)
            progress.advance(note=task.kind)
    work.metrics |= {
        "seed": work.seed,
        "split": work.section.split,
        "prompts": len(bench.prompts),
        "referees": list(bench.court.referees),
        "inapplicable": bench.court.inapplicable,
        "left_out": bench.court.left_out,
        **figures,
    }
    own = {node: bounds for node, bounds in work.gates.items() if node in figures}
    gates = verdicts(own, work.metrics)
    work.metrics["gates"] = {name: verdict.passed for name, verdict in gates.items()}
    known = {line: look_up(work.metrics, line.figure) for line in headlines(work.section.tasks, bench.fed)}
    headline = {line.metric: round(value, 4) for line, value in known.items() if value is not None}
    work.path("headline.json").write_text(json.dumps(headline, indent=1) + "\n")
    _write(bench, gates)
    if work.section.split == "test":
        _promote(work, gates)


def _write(bench: Bench, gates: Mapping[str, Verdict]) -> None:
    work = bench.work
    sets = bench.replies if bench.prompts else {}
    rows: list[dict[str, Any]] = [
        {"id": prompt.id, "user": prompt.user}
        | {
            name: {"reply": s.texts[i], "ended": s.replies[i].ended} | {by: s.scores[by][i] for by in s.scores}
            for name, s in sets.items()
        }
        for i, prompt in enumerate(bench.prompts)
    ]
    with work.path("replies.jsonl").open("w") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_report(
        work.out,
        work.metrics,
        rows,
        {work.pipeline.model_name(name): verdict for name, verdict in gates.items()},
        headlines(work.section.tasks, bench.fed),
        fed=bench.fed,
        curves=work.read_all("curves"),
        calibration=work.read_all("calibration"),
        samples=work.section.report_samples,
    )
    for name in ("report.md", "report.html", "plots"):
        work.tracker.log_file(work.path(name), "plots" if name == "plots" else "")
    if table := [{"user": row["user"]} | {name: row[name]["reply"] for name in sets} for row in rows]:
        work.tracker.log_table("replies", table[: work.section.report_samples * 4], 0)


def _promote(work: "Work[Evaluate]", gates: Mapping[str, Verdict]) -> None:
    for name, verdict in gates.items():
        record = StageRecord.load(name, work.pipeline.artifacts)
        logger.info("%s: %s", work.pipeline.model_name(name), verdict)
        if record is not None and record.model_version is not None:
            work.tracker.promote(name, record.model_version, verdict.failed)

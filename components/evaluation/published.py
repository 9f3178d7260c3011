"""Published files as items, in the wording of EleutherAI's harness, so that figures can be set beside its."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from components.data.records import Problems, RecordError

Row = Mapping[str, Any]
Recipe = Callable[[Row], dict[str, Any]]
_CALCULATION = re.compile(r"<<[^>]*>>")  # how gsm8k writes what a calculator is asked


def sst2(row: Row) -> dict[str, Any]:
    """The Stanford Sentiment Treebank: is a sentence negative (0) or positive (1)? Tab-separated: sentence, label."""
    query = f"{row['0']}\nQuestion: Is this sentence positive or negative?\nAnswer:"
    return {"query": query, "choices": ["negative", "positive"], "gold": _label(row["1"])}


def cola(row: Row) -> dict[str, Any]:
    """Linguistic acceptability: is a sentence one (1) or not (0)? Tab-separated: source, label, mark, sentence."""
    query = f"{row['3']}\nQuestion: Does this sentence make sense?\nAnswer:"
    return {"query": query, "choices": ["no", "yes"], "gold": _label(row["1"])}


def gsm8k(row: Row) -> dict[str, Any]:
    """Grade-school mathematics: the answer is the number behind ####, its thousands not parted."""
    if "####" not in row["answer"]:
        raise ValueError("there is no #### before the result in the answer")
    answer = row["answer"].rpartition("####")[2].strip().replace(",", "")
    return {"query": f"Question: {row['question']}\nAnswer:", "answer": answer}


def sst2_questions(row: Row) -> dict[str, Any]:
    """The same as a question to answer freely (pipeline `prompts`)."""
    answer = ("negative", "positive")[_label(row["1"])]
    return {"query": f'"{row["0"].strip()}" Is this positive or negative?', "answer": answer}


def gsm8k_questions(row: Row) -> dict[str, Any]:
    """The same without a wording around it, with how one comes to the answer (pipeline `prompts`)."""
    answer = gsm8k(row)["answer"]
    steps = _CALCULATION.sub("", row["answer"].rpartition("####")[0]).strip().replace("\n", " ")
    return {"query": row["question"], "answer": answer, "rationale": steps}


def _label(text: str) -> int:
    if text not in ("0", "1"):
        raise ValueError(f"the label is {text!r}, neither 0 nor 1")
    return int(text)


RECIPES: dict[str, Recipe] = {
    "sst2": sst2,
    "cola": cola,
    "gsm8k": gsm8k,
    "sst2-questions": sst2_questions,
    "gsm8k-questions": gsm8k_questions,
}


def convert(name: str, source: Path, target: Path) -> int:
    """Write a published file as items; the number of them.

    Raises:
        RecordError: there is no such recipe, or rows are not as its file has them; the message lists them.
    """
    if name not in RECIPES:
        raise RecordError(f"no recipe {name!r}; there are {', '.join(RECIPES)}")
    items, problems = [], Problems()
    for number, line in enumerate(source.read_text(encoding="utf-8").split("\n"), start=1):
        try:
            if line.strip():
                items.append(RECIPES[name](_row(line, source.suffix)))
        except KeyError as error:
            problems.add(f"{source}:{number}", f"there is no column or key {error}")
        except ValueError as error:
            problems.add(f"{source}:{number}", str(error))
    problems.check(f"row(s) that are not {name}'s")
    target.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), encoding="utf-8")
    return len(items)


def _row(line: str, suffix: str) -> Row:
    """A line's JSON object; of a .tsv, which has neither header nor quotes, its columns by their number."""
    if suffix != ".tsv":
        return dict(json.loads(line))
    return {str(place): cell for place, cell in enumerate(line.rstrip("\r").split("\t"))}

"""What a result was made of and on what: enough to make it again, or to say why it came out otherwise."""

import hashlib
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from components.data.digests import file_md5, recorded_md5
from components.lineage import StageRecord, flatten, home
from components.pipelines import DEFAULT, OpenPipeline

WEIGHTS = "model.safetensors"
ROUND = re.compile(r"round-(\d+)")  # a folder of labels
# Packages whose version may change a number.
PACKAGES = (
    "torch", "lightning", "numpy", "tokenizers", "safetensors", "pandas", "pyarrow", "pydantic", "vaderSentiment",
    "chitchat-dataset",
)  # fmt: skip
# What stages run. Flows do not change results; parameters, data and outputs have their own records.
CODE = ("components", "dvc.yaml", ":(glob)pipelines/**/*.py", ":(glob)pipelines/*/dvc.yaml")
NAME_LIMIT = 3  # changes that a name spells out


def git_commit() -> str:
    """The checked-out commit, with `+` where code that stages run differs from it; `unknown` outside git."""
    try:
        head = _git("rev-parse", "HEAD").strip()
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=all", "--", *CODE) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def uncommitted() -> str:
    """The code that differs from the commit, as a patch; files that git does not know are not in it."""
    return _git("diff", "--binary", "HEAD", "--", *CODE)


def committed_params(pipeline: OpenPipeline) -> dict[str, Any]:
    """A pipeline's parameters in the checked-out commit, with which a lineage is compared; empty outside git."""
    try:
        tree = yaml.safe_load(_git("show", f"HEAD:./{pipeline.params_file}"))
    except (OSError, subprocess.CalledProcessError, yaml.YAMLError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(home()), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def resolved(tree: Mapping[str, Any]) -> dict[str, str]:
    """Parameters in force by dotted key, in one spelling: 1 is 1.0, and key order is no difference.

    Presets are left out: what they changed is already in the tree.
    """
    in_force = {key: value for key, value in tree.items() if key != "presets"}
    return {key: _spelled(value) for key, value in flatten(in_force, separator=".")}


def _spelled(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_spelled(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_spelled, value)) + "]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def differences(tree: Mapping[str, Any], pipeline: OpenPipeline) -> dict[str, tuple[str, str]]:
    """Parameters that are not those of the checked-out commit: key -> (default, here)."""
    committed = committed_params(pipeline)
    default, here = resolved(committed), resolved(tree)
    return {
        key: (default.get(key, "-"), here.get(key, "-"))
        for key in dict.fromkeys([*here, *default])
        if committed and default.get(key) != here.get(key)
    }


def name_of(preset: str, overrides: Mapping[str, Any], tree: Mapping[str, Any], pipeline: OpenPipeline) -> str:
    """What was asked for, in a few words: `default`, `smoke`, `ppo.kl_coef=0.2 · seed 7`; its name before, if not the
    default pipeline.

    Where nothing was, what was edited in the parameter file.
    """
    changes = dict(overrides) or (
        {} if preset != "default" else {k: new for k, (_, new) in differences(tree, pipeline).items()}
    )
    words = [f"seed {value}" if key == "seed" else f"{key}={_spelled(value)}" for key, value in changes.items()]
    more = [f"and {len(words) - NAME_LIMIT} more"] if len(words) > NAME_LIMIT else []
    chosen = [] if preset == "default" and words else [preset]
    which = [] if pipeline.is_default else [pipeline.name]
    return " · ".join([*which, *chosen, *words[:NAME_LIMIT], *more])


def flow_command(preset: str, overrides: Mapping[str, Any], until: str | None = None, pipeline: str = DEFAULT) -> str:
    """The command line that asks for a pipeline, a preset and overrides, as far as a node or to the end."""
    words = ["python", "-m", "flows.lineage", *(["--pipeline", pipeline] if pipeline != DEFAULT else [])]
    words += ["--until", until] if until else []
    words += ["--preset", preset] if preset != "default" else []
    for key, value in overrides.items():
        words += ["--set", f"{key}={yaml.safe_dump(value, default_flow_style=True, width=10**6).partition(chr(10))[0]}"]
    return shlex.join(words)


def stage_params(node: str, tree: Mapping[str, Any], pipeline: OpenPipeline) -> dict[str, str]:
    """The resolved parameters that a node reads."""
    wanted = pipeline.param_keys(node)
    return {
        key: value for key, value in resolved(tree).items() if any(key == w or key.startswith(w + ".") for w in wanted)
    }


def weights_sha256(model: Path) -> str:
    """SHA-256 of a model folder's weights."""
    with (model / WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def machine_tags(tree: Mapping[str, Any]) -> dict[str, str]:
    """What may make equal work come out otherwise: processor, cores, Python, packages, precision."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "python": platform.python_version(),
        "packages": " ".join(f"{name}=={version}" for name, version in _versions(PACKAGES)),
        "precision": str(tree.get("compute", {}).get("precision", "unknown")),
    }


def _versions(names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in names:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(named), platform.processor() or platform.machine())


def version_tags(
    node: str | None,
    tree: Mapping[str, Any],
    pipeline: OpenPipeline,
    artifacts: Path | None = None,
    pointer: Path | None = None,
) -> dict[str, str]:
    """Where a node's result comes from: code, data, machine; versions, runs and weights of the models it is made from.

    Without a node: what a whole lineage is made of. The artifacts are the pipeline's unless those of a copy are given.
    """
    artifacts = artifacts or pipeline.artifacts
    pointer = pointer or pipeline.pointer
    tags = {"git.commit": git_commit(), "data.digest": recorded_md5(pointer) or "unversioned", **machine_tags(tree)}
    tags |= {"pipeline": pipeline.name} | ({"node": node} if node else {})
    if pointer.exists():
        tags["data.dvc"] = pointer.read_text()
    if pipeline.tokenizer is not None:
        tokenizer = artifacts / pipeline.tokenizer.relative_to(pipeline.artifacts)
        tags |= {"tokenizer.digest": file_md5(tokenizer)} if tokenizer.exists() else {}
    for parent in pipeline.parents(node) if node else ():
        tags |= _parent_tags(parent, pipeline, artifacts)
    return tags


def label_tags(pipeline: OpenPipeline, nodes: Iterable[str], workspace: Path = Path()) -> dict[str, str]:
    """The newest round of people's labels that some nodes read, and the digest that DVC recorded of all labels.

    Nothing where none of them reads any. `workspace`: the repository, or a copy of it.
    """
    read = [pipeline.labels[node] for node in nodes if node in pipeline.labels]
    rounds = [int(found[1]) for path in read if (found := ROUND.fullmatch(path.name))]
    tags = {"round": str(max(rounds))} if rounds else {}
    if read:
        pointer = workspace / f"{read[0].parts[0]}.dvc"
        tags["labels"] = recorded_md5(pointer) or "unversioned"
    return tags


def _parent_tags(parent: str, pipeline: OpenPipeline, artifacts: Path) -> dict[str, str]:
    tags = {f"parent.{parent}.model": pipeline.model_name(parent)}
    record = StageRecord.load(parent, artifacts)
    if record is not None:
        tags[f"parent.{parent}.version"] = record.model_version or "unregistered"
        tags[f"parent.{parent}.run_id"] = record.run_id or "untracked"
    if (artifacts / parent / "model" / WEIGHTS).exists():
        tags[f"parent.{parent}.sha256"] = weights_sha256(artifacts / parent / "model")
    return tags

"""Make a registered version again, and say whether the weights are the same.

python -m flows.reproduce models:/gpt-ppo/3             # ends with "equal", or names what differs
python -m flows.reproduce models:/gpt-ppo@champion --force   # run its stage though the cache holds the result
python -m flows.reproduce --show models:/gpt-ppo/3      # what it was made of, by what, from whom, with which gates

Works in a git worktree of the version's commit below .lineage/reproduce/, with its parameters and data and the
repository's DVC cache: what the cache does not hold is computed.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components import params as parameters
from components.pages import WEIGHTS_TAG, version_page
from components.pipelines import PipelineError, open_pipeline
from components.provenance import WEIGHTS, machine_tags, weights_sha256
from flows.graph import dvc, has_remote
from flows.parent_run import tracking
from flows.processes import run_streaming
from flows.stage_task import ingest_command
from flows.workspace import Workspace, share_dvc

NEEDED = (WEIGHTS_TAG, "node", "pipeline", "git.commit", "data.digest", "data.dvc", "processor", "packages")


class CannotReproduceError(RuntimeError):
    """Something that the version was made of cannot be had; the message names it."""


def reproduce(facts: Any, home: Path, *, force: bool) -> list[str]:
    """Make a version again; what differs, an empty list being equal weights.

    Raises:
        CannotReproduceError: commit, data or a tag cannot be had, or the stage fails.
    """
    missing = [tag for tag in NEEDED if tag not in facts.tags]
    if missing or not facts.params:
        raise CannotReproduceError(f"its tags do not hold what this needs: {', '.join(missing) or 'params.yaml'}")
    stage, workspace = facts.tags["node"], _worktree(facts, home)
    _bring_data(workspace, facts.tags["data.digest"])
    command = [sys.executable, "-m", "dvc", "repro", workspace.pipeline.address(stage)]
    _run(workspace, command)
    if force:
        _run(workspace, [*command, "--force", "--single-item"])
    found = weights_sha256(workspace.artifacts / stage / "model")
    if found == facts.tags[WEIGHTS_TAG]:
        return []
    return list(_differences(facts, workspace, stage, found))


def _worktree(facts: Any, home: Path) -> Workspace:
    """A fresh worktree of the commit, with the version's code, parameters and data pointer."""
    root = home / ".lineage" / "reproduce" / f"{facts.name}-{facts.version}"
    commit = facts.tags["git.commit"].rstrip("+")
    _git(home, "worktree", "remove", "--force", str(root), check=False)
    shutil.rmtree(root, ignore_errors=True)
    _git(home, "worktree", "prune")
    if _git(home, "worktree", "add", "--detach", str(root), commit, check=False).returncode:
        raise CannotReproduceError(
            f"commit {commit} cannot be had: not in this git repository (git fetch may bring it)"
        )
    if facts.patch:
        patch = root.with_suffix(".diff")
        patch.write_text(facts.patch)
        if _git(root, "apply", str(patch), check=False).returncode:
            raise CannotReproduceError(f"the uncommitted changes of its code do not apply to {commit}: {patch}")
    pipeline = open_pipeline(facts.tags["pipeline"], root)
    presets = parameters.read_tree(root / pipeline.params_file).get("presets", {})
    tree = {**facts.params, "presets": presets}
    if facts.tags["processor"] != machine_tags(tree)["processor"] and facts.tags.get("precision", "auto") != "auto":
        tree["compute"] = {**tree["compute"], "precision": facts.tags["precision"]}  # auto may choose another here
    parameters.write_tree(tree, root / pipeline.params_file)
    (root / pipeline.pointer).write_text(facts.tags["data.dvc"])
    share_dvc(home, root, no_scm=False)
    return Workspace(root, home, tree, pipeline)


def _bring_data(workspace: Workspace, digest: str) -> None:
    """The version's data from the cache, a remote, or its source; whichever has it."""
    data = workspace.root / workspace.pipeline.data
    for command in (["pull"] if has_remote(workspace.root) else [], ["checkout"]):
        if command and not data.exists():
            dvc(workspace, *command, str(workspace.pipeline.pointer), check=False)
    if data.exists():
        return
    said: list[str] = []
    command = ingest_command(workspace)
    if run_streaming(command, cwd=workspace.root, env=workspace.environment(), on_line=said.append):
        raise CannotReproduceError(
            f"data {digest} cannot be had, neither from the cache nor from its source: {said[-1]}"
        )


def _run(workspace: Workspace, command: list[str]) -> None:
    if run_streaming(command, cwd=workspace.root, env=workspace.environment(), on_line=print):
        raise CannotReproduceError("the stage failed; its last lines are above")


def _differences(facts: Any, workspace: Workspace, stage: str, found: str) -> Iterator[str]:
    """What is not as it was: weights, the first stage where they part, machine and packages, code that git lacks."""
    yield f"weights: SHA-256 {found} instead of {facts.tags[WEIGHTS_TAG]}"
    for parent in workspace.pipeline.parents(stage):
        was = facts.tags.get(f"parent.{parent}.sha256")
        model = workspace.artifacts / parent / "model"
        if was is not None and (model / WEIGHTS).exists() and weights_sha256(model) != was:
            name = workspace.pipeline.model_name(parent)
            yield f"{name}, which it was made from, came out otherwise already: reproduce that first"
    here = machine_tags(workspace.tree)
    for key in ("processor", "cores", "python", "precision"):
        if facts.tags.get(key) != here[key]:
            yield f"{key}: {here[key]} instead of {facts.tags.get(key, 'unknown')}"
    was, now = _versions(facts.tags["packages"]), _versions(here["packages"])
    for name in sorted(was.keys() | now.keys()):
        if was.get(name) != now.get(name):
            yield f"package {name}: {now.get(name, 'none')} instead of {was.get(name, 'none')}"
    if facts.tags["git.commit"].endswith("+"):
        yield "code: the working tree differed from its commit; files that git did not know are not in the record"


def _versions(packages: str) -> Mapping[str, str]:
    return dict(pair.split("==", 1) for pair in packages.split())


def _git(root: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(root), *arguments], check=check, capture_output=True, text=True)


def main() -> None:
    """The command line: exit status 0 if the weights are equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="models:/NAME/VERSION", help="or models:/NAME@ALIAS")
    parser.add_argument("--show", action="store_true", help="print what is known of the version, and make nothing")
    parser.add_argument("--force", action="store_true", help="run its stage though the cache holds the result")
    arguments = parser.parse_args()
    try:
        facts = tracking().store.version_facts(arguments.model)
    except ValueError as error:
        sys.exit(str(error))
    if facts is None:
        sys.exit(f"no model at {arguments.model}; `make ui` shows the registered models under Models")
    address = f"models:/{facts.name}/{facts.version}"
    if arguments.show:
        print(version_page(facts.name, facts.version, facts.tags))
        return
    try:
        found = reproduce(facts, Path.cwd(), force=arguments.force)
    except (CannotReproduceError, PipelineError) as error:
        sys.exit(f"{address} cannot be made again: {error}")
    if found:
        sys.exit("\n  ".join([f"{address} differs:", *found]))
    print(f"{address} equal: SHA-256 {facts.tags[WEIGHTS_TAG]}")


if __name__ == "__main__":
    main()

"""What must be computed, told by a real DVC repository of which nothing but code, parameters and dvc.lock lies here."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from flows import plan
from flows.graph import judge
from flows.here import bring_up_to_date
from flows.plan import print_plan
from flows.processes import Processes
from tests.flows.tiny import Tiny

DIAMOND = {"first": "", "left": "first", "right": "first", "last": "left right", "apart": ""}

GRAPH = Path("dvc.yaml")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    tiny = Tiny(tmp_path_factory.mktemp("ran") / "home", DIAMOND)
    tiny.dvc("repro")
    tiny.commit()
    return tiny


@pytest.fixture
def tiny(ran, tmp_path):
    """The finished repository without outputs and data; its cache is there."""
    shutil.copytree(ran.root, tmp_path / "home")
    shutil.rmtree(tmp_path / "home/out")
    shutil.rmtree(tmp_path / "home/data")
    return Tiny(tmp_path / "home")


def test_nothing_is_stale_where_outputs_and_data_are_deleted(ran, tiny):
    judged = judge(tiny.root, GRAPH)
    assert judged.stale == set() and judged.missing == set(DIAMOND)
    assert set(judged.graph.edges) == {
        ("first", "left"), ("first", "right"), ("left", "last"), ("right", "last"),
    }  # fmt: skip
    there = judge(ran.root, GRAPH)
    assert there.stale == set() and there.missing == set()


def test_nothing_is_stale_in_a_clone_that_has_the_cache_elsewhere(ran, tmp_path):
    ran.run("git", "clone", "-q", str(ran.root), str(tmp_path / "clone"))
    clone = Tiny(tmp_path / "clone")
    clone.dvc("cache", "dir", "--local", str(ran.root / ".dvc/cache"))
    assert not (clone.root / "data").exists()
    assert judge(clone.root, GRAPH).stale == set()


def test_a_changed_parameter_makes_its_stage_and_what_follows_stale_without_data(tiny):
    tiny.change(left=2)
    judged = judge(tiny.root, GRAPH)
    assert judged.stale == {"left", "last"} and set(judged.changed) == {"left"}
    assert judged.missing == {"first", "right", "last", "apart"}


@pytest.mark.parametrize("remade", ["left", "right"])
def test_what_was_made_anew_and_deleted_makes_what_uses_it_stale(tiny, remade):
    """Be it used by its folder or by a file in it."""
    tiny.dvc("checkout", "-q")
    tiny.change(**{remade: 2})
    tiny.dvc("repro", "-q", "--single-item", remade)
    shutil.rmtree(tiny.root / "out")
    judged = judge(tiny.root, GRAPH)
    assert judged.stale == {"last"} and judged.missing == {"first", "left", "right", "apart"}


def test_a_plan_tells_what_runs_from_what_comes_from_the_cache(tiny, capsys, monkeypatch):
    monkeypatch.setattr(plan, "refresh", lambda workspace: None)  # no declaration stands behind this graph
    tiny.change(left=2)
    print_plan(replace(tiny.workspace, tree={"left": 2}), until=None, start=None, force=())
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in capsys.readouterr().out.splitlines()}
    assert lines.pop("ingest").startswith("brings data/")
    assert lines == {
        "first": "comes from the cache", "right": "comes from the cache", "apart": "comes from the cache",
        "left": "runs: left was 1, is 2", "last": "runs if its inputs change: left",
    }  # fmt: skip


def test_what_neither_cache_nor_remote_has_must_be_computed(tiny):
    shutil.rmtree(tiny.root / ".dvc/cache")
    assert judge(tiny.root, GRAPH).stale == set(DIAMOND)


def test_a_remote_vouches_for_what_the_cache_lacks_and_brings_it(ran, tiny):
    tiny.dvc("remote", "add", "-q", "-d", "--local", "there", str(tiny.root.parent / "remote"))
    tiny.dvc("push", "-q")
    shutil.rmtree(tiny.root / ".dvc/cache")
    judged = judge(tiny.root, GRAPH)
    assert judged.stale == set() and judged.missing == set(DIAMOND)
    result = bring_up_to_date(
        "last", tiny.workspace, parent_run="", force=False, on_line=print, processes=Processes()
    )  # fmt: skip
    assert result.outcome == "Restored"
    assert (tiny.root / "out/last/text").read_bytes() == (ran.root / "out/last/text").read_bytes()


def test_what_dvc_passes_over_as_missing_is_a_change_all_the_same(tiny):
    """A deleted source file, an output that dvc.lock never had, and one that was edited and that the cache has lost."""
    graph = yaml.safe_load((tiny.root / "dvc.yaml").read_text())
    graph["stages"]["apart"]["outs"].append("out/more")
    (tiny.root / "dvc.yaml").write_text(yaml.safe_dump(graph, sort_keys=False))
    assert set(judge(tiny.root, GRAPH).changed) == {"apart"}
    tiny.run("git", "checkout", "-q", "dvc.yaml")
    tiny.dvc("remote", "add", "-q", "-d", "--local", "there", "elsewhere")
    tiny.dvc("checkout", "-q")
    (tiny.root / "out/right/text").unlink()
    (tiny.root / "out/right/text").write_text("edited")
    shutil.rmtree(tiny.root / ".dvc/cache")
    judged = judge(tiny.root, GRAPH)
    assert set(judged.changed) == {"right", "last"} and judged.missing == {"first", "left", "apart"} | {"last"} - {
        "last"
    }
    (tiny.root / "step.py").unlink()
    assert set(judge(tiny.root, GRAPH).changed) == set(DIAMOND)

"""When a round has been answered enough, and which nodes wait for people."""

from pathlib import Path

import networkx
import pytest

from components.labeling.journal import Progress
from components.pipelines import open_pipeline
from flows import labels
from flows.rounds import _together, is_enough
from flows.workspace import Workspace
from tests.contracts.imports import ROOT


@pytest.mark.parametrize(
    ("given", "skipped", "closed", "quota", "enough"),
    [
        (99, 0, False, 1.0, False),
        (100, 0, False, 1.0, True),
        (90, 10, False, 1.0, True),  # ten will never come
        (79, 0, False, 0.8, False),
        (80, 0, False, 0.8, True),
        (0, 0, False, 0.001, False),  # there is nothing to learn from
        (0, 0, True, 1.0, True),
    ],
)
def test_a_round_is_waited_for_until_its_quota_or_its_end(given, skipped, closed, quota, enough):
    assert is_enough(Progress(1, 100, 100, given, skipped, closed), quota) == enough


def test_what_waits_is_what_has_no_labels_and_what_follows_it(tmp_path):
    pipeline = open_pipeline("rounds", ROOT)
    edges = [(maker, node) for node in pipeline.nodes for maker in pipeline.makers(node)]
    graph = networkx.DiGraph(edges)
    assert pipeline.labels == {f"gather-{k}": Path(f"labels/round-0{k}") for k in (1, 2, 3)}
    workspace = Workspace(tmp_path, tmp_path, {}, pipeline)
    assert labels.waiting(workspace, graph) == set(pipeline.nodes) - {"sft"}
    (tmp_path / "labels/round-01").mkdir(parents=True)
    waiting = labels.waiting(workspace, graph)
    assert {"gather-2", "compare-3", "evaluate-2"} < waiting and not {"gather-1", "ppo-1", "evaluate-1"} & waiting
    assert not labels.waiting(Workspace(tmp_path, tmp_path, {}, open_pipeline(root=ROOT)), graph)


def test_a_stage_that_ran_in_this_call_ran_though_it_is_looked_at_again():
    first, second = {"sft": "Cached", "ppo-1": "Completed"}, {"sft": "Cached", "ppo-1": "Cached", "ppo-2": "Completed"}
    assert _together(first, second) == {"sft": "Cached", "ppo-1": "Completed", "ppo-2": "Completed"}

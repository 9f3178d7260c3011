"""The walk over a graph's stages: each starts when what it uses is up to date, as many at once as a limit allows."""

from collections.abc import Collection, Mapping, Sequence, Set
from queue import SimpleQueue
from typing import Any, Protocol

import networkx
from prefect import State, get_run_logger
from prefect.futures import PrefectFuture

from components.state import how_it_goes_on
from flows.graph import Judgement
from flows.processes import Processes
from flows.stage_task import reproduce
from flows.workspace import Workspace


class StageFailed(RuntimeError):
    """A stage failed. The stage's last lines are in its task's state and, for the command line, in `last_lines`."""

    def __init__(self, stage: str, last_lines: str, outlook: str) -> None:
        super().__init__(f"{stage} failed; {outlook}")
        self.last_lines = last_lines


class Record(Protocol):
    """Who remembers what a flow did: `flows.parent_run.Lineage`."""

    def start(self) -> str:
        """Begin if that has not happened; the id of the run in MLflow, or ""."""

    def link(self, stage: str, state: str) -> None:
        """Note a stage that did not run."""


def startable(
    graph: "networkx.DiGraph[str]", stages: Sequence[str], done: Collection[str], running: Set[str], at_once: int
) -> list[str]:
    """The stages that may start now: those whose inputs are there, in the order of `stages`, up to the limit.

    Args:
        graph: an edge from each stage to every stage that uses its outputs.
        stages: what is walked; the others of the graph stay as they lie.
        done: stages that are up to date.
        running: stages that have begun.
        at_once: how many may run at the same time.
    """
    waiting = [stage for stage in stages if stage not in done and stage not in running]
    pending = {*waiting, *running}
    ready = [stage for stage in waiting if pending.isdisjoint(graph.predecessors(stage))]
    return ready[: max(0, at_once - len(running))]


class Walk:
    """Brings stages up to date in a workspace. Their states are in `states`, where those of tasks before it may be."""

    def __init__(
        self,
        workspace: Workspace,
        judged: Judgement,
        record: Record,
        states: dict[str, State],
        *,
        force: Collection[str] = (),
        at_once: int = 1,
    ) -> None:
        self.workspace, self.judged, self.record, self.states = workspace, judged, record, states
        self.force, self.at_once = force, at_once
        self.before = list(states)  # tasks that every stage comes after
        self._running: dict[str, PrefectFuture[Any]] = {}
        self._ended: SimpleQueue[str] = SimpleQueue()
        self._processes = Processes()

    def go(self, stages: Sequence[str]) -> None:
        """Bring stages up to date. Once one has failed, those that run go on to their end and none starts any more.

        Raises:
            StageFailed: a stage failed, the first if there are several.
        """
        failed: StageFailed | None = None
        try:
            while True:
                for stage in () if failed else self._startable(stages):
                    self._start(stage)
                if not self._running:
                    break
                failure = self._wait_for_one()
                if failure and not failed and self._running:
                    get_run_logger().error("%s. Waiting for %s, which still runs", failure, ", ".join(self._running))
                failed = failed or failure
        except BaseException as error:  # Ctrl-C, SIGTERM, a cancelled flow; only the main thread hears of them
            self._processes.stop(error)
            if self._running and not isinstance(error, Exception):
                error.add_note("; ".join(dict.fromkeys(outlook(stage, self.workspace) for stage in self._running)))
            raise
        if failed:
            raise failed

    def _startable(self, stages: Sequence[str]) -> list[str]:
        return startable(self.judged.graph, stages, self.states.keys(), self._running.keys(), self.at_once)

    def _start(self, stage: str) -> None:
        judged, states = self.judged, self.states
        # Once something that it is made from has been made anew, only DVC knows whether that differs from before.
        above = networkx.ancestors(judged.graph, stage) & states.keys()
        moved = any(states[name].name != "Cached" for name in above)
        may_run = moved or stage in judged.changed or stage in judged.missing or stage in self.force
        upstream = [name for name in judged.graph.predecessors(stage) if name in states] or self.before
        future = reproduce.submit(
            stage,
            self.workspace,
            self.record.start() if may_run else "",
            self._processes,
            may_run=may_run,
            force=stage in self.force,
            return_state=False,
            wait_for=[states[name] for name in upstream],  # edges in Prefect's graph of the run
        )
        self._running[stage] = future
        future.add_done_callback(lambda _: self._ended.put(stage))

    def _wait_for_one(self) -> StageFailed | None:
        """Wait until one of the stages that run has ended; why it failed, if it did."""
        stage = self._ended.get()
        future = self._running[stage]
        future.wait()  # raises what ended its thread, if anything did
        del self._running[stage]
        if future.state.is_failed() or future.state.is_crashed():
            return StageFailed(stage, future.state.message or "", outlook(stage, self.workspace))
        self.states[stage] = future.state
        outcome = outcomes(self.states)[stage]
        if outcome != "Completed":
            self.record.link(stage, outcome.lower())
        return None


def outcomes(states: Mapping[str, State]) -> dict[str, str]:
    """What became of each stage."""
    return {stage: state.name or "" for stage, state in states.items()}


def outlook(stage: str, workspace: Workspace) -> str:
    """What the same command does after this stage was cut short."""
    return how_it_goes_on(stage, workspace.pipeline, workspace.root)

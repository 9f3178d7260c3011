"""A cluster of Ray's, or all cores of this machine under it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from components.sections.base import section

if TYPE_CHECKING:
    from components.data.shards import Crew

BEYOND = 2  # tasks that wait, for each that can run: what a cluster is told at once does not grow with the data


@section
class RayWorkers:
    """Ray's tasks, which exchange files alone: every machine sees the repository and its state under the same path.

    A task whose worker is lost is given to another.
    """

    kind: Literal["ray"]
    address: str = ""  # of a cluster that runs, or "auto"; none: one is started on this machine, and ended

    @contextmanager
    def open(self) -> "Iterator[Crew]":
        """Who makes calls until the end of the block.

        Raises:
            ModuleNotFoundError: Ray is not installed; the message says how it is.
        """
        from pathlib import Path

        try:
            import ray
        except ModuleNotFoundError:
            raise ModuleNotFoundError("workers {kind: ray} need Ray: pip install '.[cluster]'") from None
        ray.init(
            address=self.address or "local",
            runtime_env={"env_vars": {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}},
            include_dashboard=False if not self.address else None,
            log_to_driver=False,
            logging_level="warning",
        )
        try:
            yield _run
        finally:
            ray.shutdown()


def _run(function: Callable[..., None], calls: Sequence[tuple[Any, ...]]) -> Iterator[None]:
    from pathlib import Path

    import ray

    task = ray.remote(_here).options(max_retries=3)
    waiting, folder, running = list(reversed(calls)), str(Path.cwd()), list[Any]()
    room = BEYOND * max(1, int(ray.cluster_resources().get("CPU", 1)))
    while waiting or running:
        while waiting and len(running) < room:
            running.append(task.remote(folder, function, waiting.pop()))
        done, running = ray.wait(running)
        for each in done:
            try:
                ray.get(each)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None  # as it would be said here
            yield


def _here(folder: str, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """A call from the folder that its relative paths begin at."""
    import os

    os.chdir(folder)
    function(*arguments)


SECTION = RayWorkers

"""A cluster of Ray's, or all cores of this machine under it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from components.sections.base import section

BEYOND = 2  # tasks that wait, for each that can run: what a cluster is told at once does not grow with the data


@section
class RayWorkers:
    """Ray's tasks, which exchange files alone: every machine sees the repository and its state under the same path.

    A task whose worker is lost is given to another.
    """

    kind: Literal["ray"]
    address: str = ""  # of a cluster that runs, or "auto"; none: one is started on this machine, and ended

    def run(self, function: Callable[..., None], calls: Sequence[tuple[Any, ...]]) -> Iterator[None]:
        """Make the calls, in any order; yield as each ends.

        Raises:
            ModuleNotFoundError: Ray is not installed; the message says how it is.
        """
        from pathlib import Path

        try:
            import ray
        except ModuleNotFoundError:
            raise ModuleNotFoundError("workers {kind: ray} need Ray: pip install '.[cluster]'") from None
        started = not ray.is_initialized()
        if started:
            ray.init(
                address=self.address or "local",
                runtime_env={"env_vars": {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}},
                include_dashboard=False if not self.address else None,
                log_to_driver=False,
                logging_level="warning",
            )
        try:
            task = ray.remote(_here).options(max_retries=3)
            waiting, folder = list(reversed(calls)), str(Path.cwd())
            running: list[Any] = []
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
        finally:
            if started:
                ray.shutdown()


def _here(folder: str, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """A call from the folder that its relative paths begin at."""
    import os

    os.chdir(folder)
    function(*arguments)


SECTION = RayWorkers

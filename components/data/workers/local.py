"""This machine."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from components.sections.base import Count, section

if TYPE_CHECKING:
    from components.data.shards import Crew


@section
class LocalWorkers:
    """This process, or several beside it."""

    kind: Literal["local"]
    processes: Count = 1

    @contextmanager
    def open(self) -> "Iterator[Crew]":
        """Who makes calls until the end of the block."""
        if self.processes == 1:
            yield here
            return
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor, as_completed

        # Not forked: what this process has open, threads among it, would be copied half.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.processes, context, initializer=_end_with, initargs=(os.getpid(),)) as pool:

            def run(function: Callable[..., None], calls: Sequence[tuple[Any, ...]]) -> Iterator[None]:
                for future in as_completed([pool.submit(function, *arguments) for arguments in calls]):
                    future.result()
                    yield

            try:
                yield run
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def here(function: Callable[..., None], calls: Sequence[tuple[Any, ...]]) -> Iterator[None]:
    """Make the calls in this process, one after another."""
    for arguments in calls:
        function(*arguments)
        yield


def _end_with(parent: int) -> None:
    """End this process once its parent has, which may be killed; an orphan would go on writing.

    Each has one thread to encode with: the tokenizer's own would be as many as cores, in every process.
    """
    os.environ["RAYON_NUM_THREADS"] = "1"

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


SECTION = LocalWorkers

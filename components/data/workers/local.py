"""This machine."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from components.sections.base import Count, section


@section
class LocalWorkers:
    """This process, or several beside it."""

    kind: Literal["local"]
    processes: Count = 1

    def run(self, function: Callable[..., None], calls: Sequence[tuple[Any, ...]]) -> Iterator[None]:
        """Make the calls, in any order; yield as each ends."""
        if self.processes == 1:
            for arguments in calls:
                function(*arguments)
                yield
            return
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor, as_completed

        # Not forked: what this process has open, threads among it, would be copied half.
        context, here = multiprocessing.get_context("spawn"), os.getpid()
        with ProcessPoolExecutor(self.processes, context, initializer=_end_with, initargs=(here,)) as pool:
            futures = [pool.submit(function, *arguments) for arguments in calls]
            try:
                for future in as_completed(futures):
                    future.result()
                    yield
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _end_with(parent: int) -> None:
    """End this process once its parent has, which may be killed; an orphan would go on writing."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


SECTION = LocalWorkers

"""This machine."""

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
        with ProcessPoolExecutor(self.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            futures = [pool.submit(function, *arguments) for arguments in calls]
            try:
                for future in as_completed(futures):
                    future.result()
                    yield
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


SECTION = LocalWorkers

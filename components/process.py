"""What is done to a process so that it starts, works and ends faster; each with what it saved where it was measured.

| what | where | seconds |
|---|---|---|
| no search for garbage while modules are loaded | a stage's start | 1.6 of 7.6 |
| the same | a flow's start | a fifth of its imports |
| two classes of torchmetrics, not all metrics with scipy and transformers | importing Lightning | 2.0 of 3.8 |
| an end without taking torch and mlflow apart | a stage | 1.6 |
| an end without taking prefect, mlflow and dvc apart | a flow | 1.4 |
| freed memory is kept | a training step on two cores, uncompiled | a fifth |
| imports pass while Prefect's server starts (`flows.command`) | a flow's start | 2 |

Measured on two cores of a virtual machine (LOG.md).
"""

import atexit
import contextlib
import ctypes
import gc
import importlib.metadata
import importlib.util
import logging
import os
import sys
from types import ModuleType
from typing import Any, ClassVar

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h
SPARE = 2**30  # bytes


class _Heap(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    )


def stop_collecting() -> None:
    """Collect no garbage: loading large libraries makes a million objects and next to no garbage."""
    gc.disable()


def collect_again() -> None:
    """Collect garbage from now on; what modules hold by now stays, and is left out."""
    gc.freeze()
    gc.enable()


class _Metrics(ModuleType):
    """torchmetrics without what its `__init__` loads; whoever asks for more than Lightning does has all of it."""

    _logger = logging.getLogger("torchmetrics")
    _homes: ClassVar = {"Metric": "metric", "MetricCollection": "collections"}

    def __getattr__(self, name: str) -> Any:
        if name in self._homes:
            importlib.import_module("torchmetrics.utilities")  # metric.py and it import each other, in this order
            return getattr(importlib.import_module(f"torchmetrics.{self._homes[name]}"), name)
        if name.startswith("__") or self.__spec__ is None or self.__spec__.loader is None:
            raise AttributeError(name)
        self.__class__ = ModuleType  # type: ignore[assignment]
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def load_few_metrics() -> None:
    """Have `lightning`, where it is imported from now on, load the two classes of torchmetrics that it looks at."""
    spec = importlib.util.find_spec("torchmetrics")
    if spec is None or "torchmetrics" in sys.modules:
        return
    module = _Metrics(spec.name)
    module.__spec__, module.__file__ = spec, spec.origin
    module.__path__ = list(spec.submodule_search_locations or ())
    module.__version__ = importlib.metadata.version("torchmetrics")  # type: ignore[attr-defined]
    sys.modules[spec.name] = module


def leave() -> None:
    """End this process at once and successfully; whatever was written must be closed by then."""
    logging.shutdown()
    _end(0)


def leave_after_exit_handlers() -> dict[str, int]:
    """Have this process end with the status that is under `code` in the returned dict when it ends.

    All else that has been asked to run at exit is done before: Prefect's logs are sent and its server is stopped.
    """
    status = {"code": 1}
    atexit.register(lambda: _end(status["code"]))  # the first to be registered is the last to be called
    return status


def _end(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def keep_memory() -> None:
    """Have glibc keep what is freed: a step frees and takes large blocks again, whose pages the kernel clears anew."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        allocator = ctypes.CDLL("libc.so.6")
        allocator.mallopt(M_MMAP_MAX, 0)
        allocator.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def hand_back() -> None:
    """Give the system what is free of a heap with more than `SPARE` free, between phases that need unlike memory.

    A large model's phases each leave gaps that the next one's blocks do not fit, until the heap is several times as
    large as what is in use. A small one's heap is left as it is: its pages would be cleared anew at every step.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library, or glibc before 2.33
        allocator = ctypes.CDLL("libc.so.6")
        allocator.mallinfo2.restype = _Heap
        if allocator.mallinfo2().fordblks > SPARE:
            allocator.malloc_trim(0)

"""The MLflow run of one flow."""

import importlib
import logging
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from components.lineage import ARTIFACTS

logger = logging.getLogger(__name__)


def tracking() -> ModuleType:
    """`components.tracking`, imported at first use: MLflow takes seconds, which pass while Prefect's server starts."""
    return importlib.import_module("components.tracking")


class Lineage:
    """The parent run of one flow: its stages are its children, those that DVC skipped included.

    Tracking trouble leaves run_id None or the picture incomplete, and says so; it never stops the flow.
    """

    def __init__(self, tree: Mapping[str, Any], *, name: str, tags: Mapping[str, str], root: Path) -> None:
        self.tree, self.name, self.tags, self.artifacts = tree, name, tags, root / ARTIFACTS
        self.run_id: str | None = None

    def __enter__(self) -> "Lineage":
        try:
            self.run_id = tracking().create_parent(*tracking().store.connect(), self.tree, self.name, self.tags)
        except Exception as error:  # whatever MLflow raises, the flow goes on
            logger.warning("tracking: the lineage has no parent run: %s", error)
        return self

    def link(self, stage: str, state: str) -> None:
        """Show a stage that DVC did not run: its figures, and a child that points to the run that made them."""
        if self.run_id is None:
            return
        try:
            tracking().link_skipped(*tracking().store.connect(), self.run_id, stage, state, self.artifacts)
        except Exception as error:  # whatever MLflow raises, the flow goes on
            logger.warning("tracking: %s could not be linked: %s", stage, error)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.run_id is None:
            return
        status = "FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED"
        try:
            tracking().store.connect()[0].set_terminated(self.run_id, status)
        except Exception as failure:  # whatever MLflow raises, the flow goes on
            logger.warning("tracking: the parent run could not be closed: %s", failure)

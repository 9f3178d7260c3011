"""The parameters of flows as Prefect's forms show them: what can be chosen is listed, everything is described.

The choices are those of the repository when a flow is loaded; what a flow then gets, it checks (`flows.checks`).
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, GetJsonSchemaHandler

from components.pipelines import names, open_pipeline

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Described:
    """A description for the form, in place of what a docstring says, and choices where there are some."""

    text: str
    choices: Callable[[], list[str]] | None = None

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core_schema) | {"description": self.text}
        if self.choices is not None:
            with contextlib.suppress(OSError, KeyError, TypeError, ValueError, yaml.YAMLError):  # told by the flow
                schema["enum"] = self.choices()
        return schema


def _pipelines() -> list[str]:
    return names(ROOT)


def _presets() -> list[str]:
    """Those of all pipelines, the default's first."""
    files = (ROOT / open_pipeline(name, ROOT).params_file for name in names(ROOT))
    return list(dict.fromkeys(preset for file in files for preset in yaml.safe_load(file.read_text())["presets"]))


def _stages() -> list[str]:
    """The nodes of all pipelines, the default's first."""
    nodes = (node for name in names(ROOT) for node in open_pipeline(name, ROOT).nodes)
    return list(dict.fromkeys(("ingest", *nodes)))


StageName = Annotated[str, Described("A node of the pipeline, or ingest.", _stages)]
PipelineName = Annotated[str, Described("Which pipeline: those of pipelines/.", _pipelines)]
Preset = Annotated[str, Described("A named set of values in the pipeline's params.yaml.", _presets)]
Overrides = Annotated[
    dict[str, Any] | None,
    Described('Other values for parameters, by section.key, such as {"ppo.kl_coef": 0.1}; params.yaml stays as it is.'),
]
Force = Annotated[list[StageName] | None, Described("Stages that run although nothing they use has changed.")]
UntilStage = Annotated[StageName | None, Described("End with this stage: it, and what it needs that is stale.")]
FromStage = Annotated[StageName | None, Described("Begin at this stage and leave those before it as they lie.")]
AtOnce = Annotated[
    int,
    Field(ge=1),
    Described("How many stages may run at the same time; on shared cores or one GPU, one after the other is faster."),
]

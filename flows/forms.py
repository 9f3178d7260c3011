"""The parameters of flows as Prefect's forms show them: presets and stages to choose from, overrides described."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import Field, GetJsonSchemaHandler

from pipelines.default.pipeline import PIPELINE

PARAMS_FILE = Path(__file__).parents[1] / "params.yaml"
if TYPE_CHECKING:
    StageName = str
else:
    StageName = Literal[("ingest", *PIPELINE.nodes)]


@dataclass(frozen=True)
class Described:
    """A description for the form: Prefect puts what a docstring says in place of a field's own."""

    text: str
    presets: bool = False

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core_schema) | {"description": self.text}
        if self.presets:  # those of params.yaml when a flow is loaded; flows check what they get
            with contextlib.suppress(OSError, KeyError, TypeError, yaml.YAMLError):  # told when a flow reads the file
                schema["enum"] = list(yaml.safe_load(PARAMS_FILE.read_text())["presets"])
        return schema


Preset = Annotated[str, Described("A named set of values in params.yaml.", presets=True)]
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

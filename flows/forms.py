"""The parameters of flows as Prefect's forms show them: presets and stages to choose from, overrides described."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

PARAMS_FILE = Path(__file__).parents[1] / "params.yaml"
StageName = Literal[
    "ingest", "prepare", "pretrain", "sft", "compare", "reward", "ppo", "dpo", "feedme", "evaluate"
]  # fmt: skip


def _offer_presets(schema: dict[str, Any]) -> None:
    try:
        schema["enum"] = list(yaml.safe_load(PARAMS_FILE.read_text())["presets"])
    except (OSError, KeyError, TypeError, yaml.YAMLError):
        return  # told, with all else that is wrong, when a flow reads the file


Preset = Annotated[
    str, Field(title="Preset", description="A named set of values in params.yaml.", json_schema_extra=_offer_presets)
]
Overrides = Annotated[
    dict[str, Any] | None,
    Field(
        title="Overrides",
        description="Other values for parameters of params.yaml, by section.key, in force in a copy of the repository.",
        examples=[{"ppo.kl_coef": 0.1}],
    ),
]
Force = Annotated[
    list[StageName], Field(title="Force", description="Stages that run although nothing they use has changed.")
]
FromStage = Annotated[
    StageName | None, Field(title="From", description="Begin at this stage and leave those before it as they lie.")
]

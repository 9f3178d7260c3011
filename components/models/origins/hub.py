"""A repository of the Hugging Face hub: a model, or adapters of one that lies in another repository."""

import json
import logging
import re
import shutil
from pathlib import Path
from typing import Literal

from components.models.origins.origin import Origin, OriginError
from components.sections.base import section

logger = logging.getLogger(__name__)
# Weights, configuration and tokenizer; neither pickles nor code.
WANTED = ["*.json", "model*.safetensors", "adapter_model.safetensors", "*.jinja"]
ADAPTER = "adapter_config.json"


@section
class HubOrigin(Origin):
    """A revision of a repository of the hub; what was fetched before is taken from the hub's own cache."""

    kind: Literal["hub"]
    repository: str
    revision: str

    def bring(self, downloads: Path) -> Path:
        folder = _snapshot(self.repository, self.revision)
        return _with_base(folder, downloads / "adapter") if (folder / ADAPTER).exists() else folder

    def describe(self) -> str:
        return f"{self.repository}@{self.revision}"


def _snapshot(repository: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download

    if not re.fullmatch("[0-9a-f]{40}", revision):
        logger.warning("revision %s may move unnoticed: name a commit of %s", revision, repository)
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=WANTED))
    except (OSError, ValueError) as error:
        raise OriginError(f"{repository} cannot be had from the hub: {error}") from error


def _with_base(adapter: Path, target: Path) -> Path:
    """A folder with what adapters consist of and, where `base_of` looks, the model that they are of."""
    said = json.loads((adapter / ADAPTER).read_text(encoding="utf-8"))
    named = str(said.get("base_model_name_or_path") or "")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", named):
        raise OriginError(f"{adapter / ADAPTER} names {named!r} as base, which is no repository of the hub")
    base = _snapshot(named, str(said.get("revision") or "main"))
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in adapter.iterdir():
        (target / path.name).symlink_to(path.resolve())
    (target / Path(named).name).symlink_to(base.resolve())
    return target


SECTION = HubOrigin

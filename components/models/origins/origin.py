"""What an origin of a model is."""

from abc import ABC, abstractmethod
from pathlib import Path

from components.models.families.keys import FormatError


class OriginError(FormatError):
    """A model cannot be brought; the message names it and the way out."""


class Origin(ABC):
    """Brings a stored model: a folder of safetensors, or a GGUF file."""

    @abstractmethod
    def bring(self, downloads: Path) -> Path:
        """Where it lies on this machine; what is fetched is kept below a folder.

        Raises:
            OriginError: it is not there, or is another version.
        """

    @abstractmethod
    def describe(self) -> str:
        """What it is called, as a person would look it up."""

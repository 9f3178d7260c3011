"""How many tokens a pipeline's texts may have: what the data are cut to, and what a model's context must hold."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from components.sections.base import Count, section


@section
class Limits:
    """Token counts that stages have to agree on."""

    context_length: Annotated[int, Field(ge=1, le=2**22)]
    max_prompt_tokens: Count
    max_demonstration_tokens: Count

    @model_validator(mode="after")
    def _demonstrations_fit(self) -> "Limits":
        if self.max_demonstration_tokens > self.context_length:
            raise ValueError(
                f"context_length {self.context_length} is less than "
                f"max_demonstration_tokens {self.max_demonstration_tokens}"
            )
        return self

    def contradictions(self, shared: Mapping[str, Any]) -> Iterator[str]:
        """What does not go together with the pipeline's other shared sections."""
        generation = shared.get("generation")
        if generation is not None and self.max_prompt_tokens + generation.max_new_tokens > self.context_length:
            yield (
                f"limits.context_length {self.context_length} is less than limits.max_prompt_tokens + "
                f"generation.max_new_tokens = {self.max_prompt_tokens + generation.max_new_tokens}"
            )

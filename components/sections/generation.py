"""How replies are sampled."""

from typing import Annotated

from pydantic import Field, model_validator

from components.sections.base import Count, NaturalNumber, NonNegative, section


@section
class Generation:
    """Sampling in compare, ppo and evaluate; a registered model is served with the same."""

    max_new_tokens: Count
    temperature: NonNegative
    top_k: NaturalNumber
    top_p: Annotated[float, Field(gt=0, le=1)]

    @model_validator(mode="after")
    def _something_is_explored(self) -> "Generation":
        if self.temperature < 0.001:
            raise ValueError(
                f"temperature {self.temperature:g} is greedy: compare would rank equal replies, and ppo would explore "
                "nothing. 0.001 or more trains; chat and serving take 0"
            )
        return self

"""GPT-3 (Brown et al. 2020, arXiv:2005.14165): GPT-2 whose blocks alternate between dense and banded attention.

Which of the two comes first, and how wide the band is, was not published: here the first is dense, and the width is a
parameter. `transformers` has no class for it, so that such a model cannot leave as one.
"""

from dataclasses import replace
from typing import Literal

from components.models.config import GPTConfig
from components.models.families.family import Family
from components.models.sizes import config_for
from components.sections.base import Count, section


@section
class Gpt3(Family):
    """GPT-3; `band` tokens, its own included, are what a token sees in every other block."""

    kind: Literal["gpt3"]
    band: Count

    def config(self, *, vocab_size: int, context_length: int) -> GPTConfig:
        dense = config_for(self.shape, vocab_size=vocab_size, context_length=context_length)
        return replace(dense, family="gpt3", band=self.band)


SECTION = Gpt3

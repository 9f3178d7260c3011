"""The typed, frozen tree that `params.yaml` must fit."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from components.figures import is_figure, like
from components.models.sizes import parse_size
from components.schema_base import (
    STRICT,
    BatchSize,
    Count,
    NaturalNumber,
    NonNegative,
    OpenFraction,
    Optimizer,
    Seed,
    Weights,
)
from components.schema_rl import Dpo, Feedme, Ppo


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PackageSource:
    """Conversations shipped inside an installed Python package."""

    kind: Literal["package"]
    name: Literal["chitchat-dataset"]
    version: str


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FolderSource:
    """Every file below a folder (docs/data.md says which are read, and which columns mean what)."""

    kind: Literal["folder"]
    path: str


@dataclass(frozen=True, kw_only=True, config=STRICT)
class UrlSource:
    """One such file behind HTTPS, refused if its SHA-256 differs."""

    kind: Literal["url"]
    url: Annotated[str, Field(pattern=r"^https://")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HubSource:
    """A data set of the Hugging Face hub, through the optional `datasets` package (`pip install .[hub]`)."""

    kind: Literal["hub"]
    dataset: str
    split: str
    revision: str


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Ingest:
    """Where raw records come from."""

    source: Annotated[PackageSource | FolderSource | UrlSource | HubSource, Field(discriminator="kind")]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Prepare:
    """Cleaning, splits and tokenizer; fractions are of conversations, decided by a hash of their group."""

    vocab_size: Annotated[int, Field(ge=300, le=2**32)]
    max_records: NaturalNumber  # read this many and no more, of both kinds in turn; 0 for all
    shard_records: Count
    validation_fraction: OpenFraction
    test_fraction: OpenFraction
    demonstration_fraction: OpenFraction
    prompts_per_conversation: Count
    max_prompt_tokens: Count

    @model_validator(mode="after")
    def _training_data_remains(self) -> "Prepare":
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction leave nothing to train on")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Model:
    """The language model; its shape is a key of `components.models.sizes.SIZES` or LAYERSxWIDTHxHEADS.

    Not `size`: DVC leaves keys of that name out of what its run cache goes by, and would restore another shape's model.
    """

    shape: str
    context_length: Annotated[int, Field(ge=1, le=2**22)]

    @model_validator(mode="after")
    def _size_is_known(self) -> "Model":
        parse_size(self.shape)
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Compute:
    """How the arithmetic is done. Part of every training stage's identity, since it changes the numbers."""

    precision: Literal["auto", "32-true", "bf16-mixed"]
    compile: bool
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"]
    devices: Annotated[int, Field(ge=1, le=64)]  # of one machine
    strategy: str


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Pretrain:
    """Next-token training on plain text; a batch is `batch_size` windows of the context length."""

    max_steps: Count
    batch_size: BatchSize
    validation_interval: Count
    validation_batches: Count
    checkpoint_interval: Count
    optimizer: Optimizer

    @model_validator(mode="after")
    def _rate_is_reached(self) -> "Pretrain":
        if problem := self.optimizer.warmup_problem(self.max_steps, "steps"):
            raise ValueError(f"optimizer.{problem}")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sft:
    """Fine-tuning on demonstrations; a batch is `batch_size` rows of `max_tokens`."""

    max_steps: Count
    batch_size: BatchSize
    max_tokens: Count
    weights: Weights
    validation_interval: Count
    validation_batches: Count
    checkpoint_interval: Count
    optimizer: Optimizer

    @model_validator(mode="after")
    def _rate_is_reached(self) -> "Sft":
        if problem := self.optimizer.warmup_problem(self.max_steps, "steps"):
            raise ValueError(f"optimizer.{problem}")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
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


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SimulatedLabeler:
    """Scores replies with the gold function plus noise; two such labelers agree on `agreement` of the pairs."""

    kind: Literal["simulated"]
    agreement: Annotated[float, Field(gt=0.5, lt=1)]
    tie_margin: NonNegative


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FileLabeler:
    """Comparisons brought by the user: K-wise `replies` and `ranks`, or `chosen` and `rejected`."""

    kind: Literal["file"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Compare:
    """Sampling replies and having them ranked; `replies_per_prompt` is K."""

    num_prompts: Count
    replies_per_prompt: Annotated[int, Field(ge=2, le=9)]
    batch_size: BatchSize
    validation_fraction: OpenFraction
    test_fraction: OpenFraction
    labeler: Annotated[SimulatedLabeler | FileLabeler, Field(discriminator="kind")]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RankingObjective:
    """All pairs of a prompt's replies are one batch element (InstructGPT, equation 1)."""

    kind: Literal["ranking"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PairwiseObjective:
    """Every pair is a batch element of its own, in shuffled order; a batch has `prompts_per_batch` pairs."""

    kind: Literal["pairwise"]
    margin: NonNegative


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BestOfKObjective:
    """Only which reply is the best counts (Ziegler et al. 2019)."""

    kind: Literal["best_of_k"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Reward:
    """Training the reward model on rankings."""

    seed_offset: Seed  # added to `seed` in this stage alone, to repeat it
    weights: Weights
    objective: Annotated[RankingObjective | PairwiseObjective | BestOfKObjective, Field(discriminator="kind")]
    normalisation: Literal["bias", "gain_and_bias"]
    epochs: Count
    prompts_per_batch: BatchSize
    checkpoint_interval: Count
    optimizer: Optimizer


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Evaluate:
    """Measuring every model on a held-out split: prompts, comparisons, and the first `text_windows` windows of text."""

    split: Literal["validation", "test"]  # choices are made on validation; what is published is of test
    num_prompts: Count
    text_windows: Count
    batch_size: BatchSize
    report_samples: Count


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Gate:
    """A bound on one figure of `artifacts/evaluate/metrics.json`, named by its dotted path."""

    metric: str
    minimum: float | None = None
    maximum: float | None = None

    @model_validator(mode="after")
    def _figure_exists(self) -> "Gate":
        if not is_figure(self.metric):
            known = ", ".join(like(self.metric))
            raise ValueError(f"evaluate makes no figure {self.metric!r}; there are {known}")
        return self

    @model_validator(mode="after")
    def _one_bound(self) -> "Gate":
        if (self.minimum is None) == (self.maximum is None):
            raise ValueError("a gate has a minimum or a maximum")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Gates:
    """What a stage's newest model must reach to become champion; all bounds of a stage must hold."""

    pretrain: tuple[Gate, ...]
    sft: tuple[Gate, ...]
    reward: tuple[Gate, ...]
    ppo: tuple[Gate, ...]
    dpo: tuple[Gate, ...]
    feedme: tuple[Gate, ...]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Params:
    """Every choice of a lineage."""

    seed: Seed
    ingest: Ingest
    prepare: Prepare
    model: Model
    compute: Compute
    pretrain: Pretrain
    sft: Sft
    generation: Generation
    compare: Compare
    reward: Reward
    ppo: Ppo
    dpo: Dpo
    feedme: Feedme
    evaluate: Evaluate
    gates: Gates
    presets: dict[str, dict[str, Any]]

    @model_validator(mode="after")
    def _context_suffices(self) -> "Params":
        needed = self.prepare.max_prompt_tokens + self.generation.max_new_tokens
        if max(needed, self.sft.max_tokens) > self.model.context_length:
            raise ValueError(
                f"model.context_length {self.model.context_length} is less than "
                f"sft.max_tokens {self.sft.max_tokens} or "
                f"prepare.max_prompt_tokens + generation.max_new_tokens = {needed}"
            )
        return self

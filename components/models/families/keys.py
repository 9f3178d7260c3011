"""Reading a `config.json` of `transformers`: what is understood, and all that is not, named at once."""

from collections.abc import Mapping
from typing import Any

from components.models.config import GPTConfig, LinearScaling, Llama3Scaling, Rotary

# What says nothing about the function that a network computes when it answers.
IGNORED = frozenset(
    """
    _attn_implementation_autoset _name_or_path architectures attention_dropout attn_pdrop bos_token_id
    chunk_size_feed_forward classifier_dropout dtype embd_pdrop eos_token_id gradient_checkpointing
    hidden_dropout id2label initializer_range is_decoder is_encoder_decoder is_llama_config label2id layer_types
    max_window_layers model_type n_ctx output_attentions output_hidden_states pad_token_id
    predict_special_tokens pretraining_tp problem_type reorder_and_upcast_attn resid_pdrop return_dict
    return_dict_in_generate sep_token_id sliding_window summary_activation
    summary_first_dropout summary_proj_to_labels summary_type summary_use_proj task_specific_params
    tokenizer_class torch_dtype torchscript transformers.js_config transformers_version unsloth_fixed
    unsloth_version unk_token_id use_bfloat16 use_cache use_return_dict use_sliding_window
    """.split()
)
NULLS: tuple[Any, ...] = (None, False, {}, [], "")


class FormatError(ValueError):
    """Something stored is not a model that this project's transformer can be; the message says why."""


class Keys:
    """The keys of one `config.json`; problems are gathered until `done`."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self.found = found
        self.problems: list[str] = []
        self.used: set[str] = set()

    def take(self, *names: str, default: Any = None) -> Any:
        """What is said under the first of some names that says anything."""
        self.used.update(names)
        return next((self.found[name] for name in names if self.found.get(name) is not None), default)

    def whole(self, *names: str, default: int | None = None) -> int:
        """A whole number, from 1."""
        value = self.take(*names, default=default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            self.problems.append(f"no whole number for {names[0]}")
            return 1
        return value

    def real(self, *names: str, default: float) -> float:
        """A number above 0."""
        value = self.take(*names, default=default)
        if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
            self.problems.append(f"{names[0]} is {value!r}, not a number above 0")
            return default
        return float(value)

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        value = self.take(name, default=default)
        if not isinstance(value, bool):
            self.problems.append(f"{name} is {value!r}, not true or false")
            return default
        return value

    def must(self, name: str, *allowed: Any) -> None:
        """Refuse what is not among the values that are computed; the first is what silence means."""
        value = self.take(name, default=allowed[0])
        if value not in allowed:
            self.problems.append(f"{name} is {value!r}, not {' or '.join(map(repr, allowed))}")

    def context(self) -> int:
        """Positions that may be used: with sliding windows those of one, within which nothing slides out of sight."""
        positions = self.whole("max_position_embeddings", "n_positions")
        window = self.found.get("sliding_window")
        slides = window is not None and self.found.get("use_sliding_window", True)
        return min(positions, int(str(window))) if slides else positions

    def shape(self) -> dict[str, Any]:
        """What most files call alike: vocabulary, context, layers, width, heads, hidden width."""
        return {
            "vocab_size": self.whole("vocab_size"),
            "context_length": self.context(),
            "num_layers": self.whole("num_hidden_layers"),
            "width": self.whole("hidden_size"),
            "num_heads": self.whole("num_attention_heads"),
            "hidden_width": self.whole("intermediate_size"),
        }

    def rotary(self, head_width: int, *, share: float = 1.0, share_name: str = "partial_rotary_factor") -> Rotary:
        """Rotary positions, as older and newer files say them; kinds of scaling that are not computed are refused."""
        said = dict(self.take("rope_parameters", default={})) | dict(self.take("rope_scaling", default={}))
        base = self.take("rope_theta", "rotary_emb_base", default=said.get("rope_theta", 10_000.0))
        share = float(self.take(share_name, default=said.get("partial_rotary_factor", share)))
        width = int(head_width * share)
        if width % 2:
            self.problems.append(f"rotary positions turn pairs, and {share} of a head of {head_width} is {width}")
        return Rotary(float(base), width, scaling=self._scaling(said))

    def _scaling(self, said: Mapping[str, Any]) -> LinearScaling | Llama3Scaling | None:
        kind = said.get("rope_type", said.get("type", "default"))
        match kind:
            case "default":
                return None
            case "linear":
                return LinearScaling("linear", float(said["factor"]))
            case "llama3":
                names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
                if missing := [name for name in names if name not in said]:
                    self.problems.append(f"rope scaling llama3 lacks {', '.join(missing)}")
                    return None
                factor, low, high, original = (said[name] for name in names)
                return Llama3Scaling("llama3", float(factor), float(low), float(high), int(original))
        self.problems.append(f"rope scaling {kind!r} is not computed here, only 'linear' and 'llama3'")
        return None

    def done(self) -> None:
        """Raise if anything was wrong, or if a key is there that nothing has read and that may matter.

        Raises:
            FormatError: names every problem.
        """
        unread = sorted(
            name for name, value in self.found.items() if name not in self.used | IGNORED and value not in NULLS
        )
        if unread:
            self.problems.append(
                f"{', '.join(unread)}: not understood; take out what does not change what the network computes"
            )
        if self.problems:
            raise FormatError("; ".join(self.problems))


def gpt_keys(config: GPTConfig) -> dict[str, Any]:
    """What the files of GPT and of GPT-2 call alike."""
    return {
        "vocab_size": config.vocab_size,
        "n_positions": config.context_length,
        "n_embd": config.width,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "layer_norm_epsilon": config.norm_epsilon,
        "tie_word_embeddings": config.tied,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    }


def shape_keys(config: GPTConfig) -> dict[str, int]:
    """What `Keys.shape` reads."""
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "num_hidden_layers": config.num_layers,
        "hidden_size": config.width,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.mlp_size,
    }


def rope_keys(rotary: Rotary, *, share: float | None = None) -> dict[str, Any]:
    """Rotary positions as newer files say them."""
    said: dict[str, Any] = {"rope_type": "default", "rope_theta": rotary.base}
    match rotary.scaling:
        case LinearScaling(factor=factor):
            said |= {"rope_type": "linear", "factor": factor}
        case Llama3Scaling() as scaling:
            said |= {
                "rope_type": "llama3",
                "factor": scaling.factor,
                "low_freq_factor": scaling.low_frequency_factor,
                "high_freq_factor": scaling.high_frequency_factor,
                "original_max_position_embeddings": scaling.original_context_length,
            }
    return said | ({} if share is None else {"partial_rotary_factor": share})

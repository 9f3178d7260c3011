"""What training added to a model as low-rank adapters of `peft`; models are saved merged, so a base is taken off."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from components.models.families.family import Layout, layout_of
from components.models.families.keys import FormatError
from components.models.formats.peft_folder import BEFORE, CONFIG, TENSORS
from components.models.formats.transformers_format import stored_tensors
from components.models.transformer import GPT
from components.progress import Progress

ROUNDING = 2.0**-23  # of a weight in fp32, as far as two of them may be apart though they are the same


def export_adapter(model: GPT, base: GPT, folder: Path, *, base_name: str) -> None:
    """Write the difference of two models so that `peft.PeftModel.from_pretrained(base, folder)` computes as `model`.

    base_name: where the base is, as peft will look for it.

    Raises:
        FormatError: the models differ by more than matrices of low rank; all that is wrong is named.
    """
    layout = layout_of(model.config.family)
    _check_alike(layout, model, base, base_name)
    rules = layout.weights(model.config)
    transposed = any(rule.form == "transposed" for rule in rules.values())
    inside = {layout.prefix + name for ours, rule in rules.items() if ours.startswith("blocks.") for name in rule.names}
    pairs = _pairs(stored_tensors(layout, model), stored_tensors(layout, base), inside, transposed=transposed)
    rank = max(len(down) for down, _ in pairs.values())
    tensors = {}
    for module, (down, up) in pairs.items():  # peft wants one rank; rows of 0 add nothing
        spare = rank - len(down)
        tensors[f"{BEFORE}{module}.lora_A.weight"] = torch.nn.functional.pad(down, (0, 0, 0, spare))
        tensors[f"{BEFORE}{module}.lora_B.weight"] = torch.nn.functional.pad(up, (0, spare))
    said = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base_name, "r": rank,
        "lora_alpha": rank, "target_modules": sorted(pairs), "bias": "none", "fan_in_fan_out": transposed,
        "inference_mode": True,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / TENSORS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(said, indent=1) + "\n")


def _check_alike(layout: Layout, model: GPT, base: GPT, base_name: str) -> None:
    if model.config.family != base.config.family:
        raise FormatError(f"{base_name} is a {base.config.family}, the model a {model.config.family}")
    # Read from what is written, so that a width that is said and one that follows from others are the same.
    ours, theirs = (vars(layout.read(layout.write(each.config))) for each in (model, base))
    unlike = [f"{key} is {theirs[key]} there, {ours[key]} in the model" for key in ours if ours[key] != theirs[key]]
    if unlike:
        raise FormatError(f"{base_name} is another network: {', '.join(unlike)}")


def _pairs(
    trained: Mapping[str, Tensor], base: Mapping[str, Tensor], inside: Collection[str], *, transposed: bool
) -> dict[str, tuple[Float[Tensor, "r N"], Float[Tensor, "M r"]]]:
    """The two matrices of each module that differs, with M rows and N columns as `nn.Linear` has them.

    inside: weights of the blocks; embeddings and heads have no such adapters.
    """
    pairs, problems = {}, []
    with Progress(len(trained), "weights") as progress:
        for name, weight in trained.items():
            progress.advance()
            module, before = name.removesuffix(".weight"), base[name]
            if torch.equal(weight, before):
                continue
            if weight.ndim != 2 or name not in inside:
                problems.append(f"{name} differs, which is no matrix with an adapter")
                continue
            rows, columns = (weight.T, before.T) if transposed else (weight, before)
            pair = factors(rows, columns)
            if pair is None:
                problems.append(f"{name} differs by a matrix that is not of low rank")
            elif len(pair[0]):
                pairs[module] = pair
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise FormatError(f"no adapters can say it ({'; '.join(problems[:3])}{more}): export the model whole")
    if not pairs:
        raise FormatError("nothing differs: it is the base itself")
    return pairs


def factors(
    weight: Float[Tensor, "M N"], base: Float[Tensor, "M N"]
) -> tuple[Float[Tensor, "r N"], Float[Tensor, "M r"]] | None:
    """Two matrices whose product is `weight - base` but for rounding, of lowest rank; None where they are no smaller.

    The difference is projected on its right singular vectors of the values that rounding cannot make.
    """
    added = weight.double() - base.double()
    size, vectors = torch.linalg.eigh(added.T @ added)
    noise = ROUNDING * float(weight.abs().max()) * sum(side**0.5 for side in added.shape)
    kept = vectors[:, size > noise**2].flip(1)
    rank = kept.shape[1]
    if rank * sum(added.shape) >= added.numel():
        return None
    return kept.T.float().contiguous(), (added @ kept).float().contiguous()

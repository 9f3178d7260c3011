"""Public functions say which shapes of tensors they take and give; tests hold them to it, a stage does not."""

import importlib
import inspect
import subprocess
import sys
from typing import Any, get_args

import pytest
import torch
from jaxtyping import AbstractArray, Float, TypeCheckError

from components.data.sequences import SequenceBatch
from components.losses.masking import masked_mean
from components.models.config import GPTConfig
from components.models.transformer import GPT
from tests.contracts.imports import ROOT, modules
from tests.shapes import CHECKED

WHOLE = ("losses", "models", "data", "evaluation", "rl", "inference")  # packages of components
ALONE = (
    "components.training.muon",
    "components.training.optim",
)  # the rest of training gets its tensors from Lightning
# What has a plain Tensor in its signature, and why its shape cannot be said. Nothing has.
EXCEPTIONS: dict[str, str] = {}


def names():
    """Of all modules whose public functions are looked at."""
    paths = [path for package in WHOLE for path in modules(f"components/{package}") if path.stem != "__init__"]
    return (*(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths), *ALONE)


def kinds(annotation: Any):
    """The kinds of tensor in an annotation, jaxtyping's or torch's."""
    if isinstance(annotation, str):
        return {torch.Tensor} if "Tensor" in annotation else set()
    if inspect.isclass(annotation) and issubclass(annotation, AbstractArray):
        return {AbstractArray} if issubclass(annotation.array_type, torch.Tensor) else set()
    if inspect.isclass(annotation) and issubclass(annotation, torch.Tensor):
        return {torch.Tensor}
    parts = annotation if isinstance(annotation, list) else get_args(annotation)
    return {kind for part in parts for kind in kinds(part)}


def public(owner: Any, module: str):
    """Public functions, methods and classes that a module defines, below a module or a class, with their names."""
    for name, value in vars(owner).items():
        if name.startswith("_") and name not in ("__init__", "__call__"):
            continue
        found = getattr(value, "fget", None) or getattr(value, "__func__", value)
        if getattr(found, "__module__", None) != module or not hasattr(found, "__annotations__"):
            continue
        yield f"{module}.{found.__qualname__}", found
        if inspect.isclass(found):
            yield from public(found, module)


def with_tensors():
    """Names of all that takes, gives or holds tensors, and whether all their shapes are said."""
    for module in names():
        for name, found in public(importlib.import_module(module), module):
            if seen := {kind for annotation in found.__annotations__.values() for kind in kinds(annotation)}:
                yield module, name, seen == {AbstractArray}


def test_public_functions_say_the_shapes_of_their_tensors():
    found = list(with_tensors())
    assert {name for _, name, said in found if not said} == EXCEPTIONS.keys()
    assert {"components.losses.ppo.PolicyLoss", "components.models.transformer.GPT.forward",
            "components.models.packed.Packed.Layer.attend", "components.data.sequences.SequenceBatch.response_ids",
            "components.training.muon.orthogonalize"} <= {name for _, name, _ in found}  # fmt: skip


def test_what_has_tensors_is_checked():
    assert not {module for module, _, _ in with_tensors() if not module.startswith(CHECKED)}


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (torch.Tensor, False),
        (dict[str, list[torch.nn.Parameter]] | None, False),
        ("Tensor | None", False),
        (Float[torch.Tensor, "B"] | None, True),
        (tuple[Float[torch.Tensor, "B"], torch.Tensor], False),
    ],
)
def test_a_tensor_without_a_shape_is_seen(annotation, said):
    assert (torch.Tensor not in kinds(annotation)) == said


MASK = torch.ones(2, 3, dtype=torch.bool)
IDS = torch.zeros(2, 3, dtype=torch.long)


@pytest.mark.parametrize(
    "call",
    [
        lambda: masked_mean(torch.ones(2, 1), MASK),  # would be broadcast
        lambda: GPT(GPTConfig(8, 4, 1, 4, 1))(IDS[0]),
        lambda: SequenceBatch(IDS, torch.ones(3, dtype=torch.long), MASK),
        lambda: SequenceBatch(IDS, torch.ones(2), MASK),
    ],
    ids=["function", "method", "field", "type"],
)
def test_a_wrong_shape_is_refused_while_tests_run(call):
    with pytest.raises(TypeCheckError):
        call()


def test_a_model_can_be_compiled_while_tests_run():
    model = GPT(GPTConfig(8, 4, 1, 4, 1))
    compiled = torch.compile(model.__call__, backend="eager", fullgraph=True)
    assert torch.equal(compiled(IDS), model(IDS))


PRODUCTION = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
assert "beartype" not in sys.modules
import torch
from components.losses.masking import masked_mean
assert masked_mean(torch.ones(2, 1), torch.ones(2, 3, dtype=torch.bool)) == 1
"""


def test_a_stage_imports_no_checker_and_checks_nothing():
    found = [name for name in names() if name.startswith(("components.losses.", "components.models."))]
    subprocess.run([sys.executable, "-c", PRODUCTION, *found], cwd=ROOT, check=True)

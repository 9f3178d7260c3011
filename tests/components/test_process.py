"""Memory that is free goes back to the system, if there is much of it."""

import subprocess
import sys

import pytest

from tests.contracts.imports import ROOT

PROGRAM = """
import psutil
from components import process
process.SPARE = {spare}
process.keep_memory()
held = psutil.Process().memory_info().rss
blocks = [bytearray(2**20) for _ in range(200)]
kept = blocks[::40]  # scattered, so that nothing but asking brings back what lies between
del blocks
before = psutil.Process().memory_info().rss - held
process.hand_back()
print(before, psutil.Process().memory_info().rss - held)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks glibc")
@pytest.mark.parametrize(("spare", "is_given"), [(50 * 2**20, True), (2**30, False)])
def test_what_is_free_is_handed_back_where_there_is_more_than_a_bound(spare, is_given):
    said = subprocess.run([sys.executable, "-c", PROGRAM.format(spare=spare)], cwd=ROOT, check=True,
                          capture_output=True, text=True).stdout  # fmt: skip
    before, after = (int(word) / 2**20 for word in said.split())
    assert before > 190
    assert after < 40 if is_given else after > 190


FEW = """
import sys
from components import process
process.load_few_metrics()
import lightning, torch, torchmetrics
loaded = {"scipy", "transformers", "torchmetrics.functional"} & set(sys.modules)
assert not loaded, loaded
assert lightning.pytorch.core.module.Metric is torchmetrics.metric.Metric
assert issubclass(torchmetrics.MetricCollection, torch.nn.Module)
from torchmetrics import Accuracy
score = Accuracy("binary")(torch.tensor([1, 0, 1, 1]), torch.tensor([1, 0, 0, 1]))
assert float(score) == 0.75 and isinstance(Accuracy("binary"), lightning.pytorch.core.module.Metric)
"""


def test_lightning_loads_two_classes_of_torchmetrics_and_whoever_asks_for_more_has_all():
    subprocess.run([sys.executable, "-W", "ignore", "-c", FEW], cwd=ROOT, check=True)

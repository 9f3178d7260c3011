"""What several modules of these tests share; one that needs another of a name has its own."""

import pytest

from components.data.chat import ChatTokenizer
from components.data.tokenizer import train_tokenizer
from components.labeling.journal import Journal
from tests.components.labels import Clock
from tests.components.talks import TEXTS


@pytest.fixture(scope="session")
def tokenizer():
    return ChatTokenizer(train_tokenizer(TEXTS, vocab_size=400))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with what the ppo stage reads."""
    from tests.components.alignment import make_files  # noqa: PLC0415  (Lightning takes seconds; few modules need it)

    root = tmp_path_factory.mktemp("alignment")
    make_files(root)
    return root


@pytest.fixture
def stage(files, monkeypatch):
    """Make a ppo stage with other values: `stage(ppo__kl_coef=0.2)`."""
    from tests.components.alignment import make_stage  # noqa: PLC0415

    monkeypatch.chdir(files)

    def make(**changes):
        return make_stage(files, **changes)

    return make


@pytest.fixture
def untracked(monkeypatch):
    """A process that no store, flow or experiment has told anything."""
    for name in ("MLFLOW_TRACKING_URI", "GPTLINEAGE_ROOT", "GPTLINEAGE_PARENT_RUN", "DVC_EXP_NAME", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("flows.parent_run._silent_until", float("-inf"))


@pytest.fixture
def work(untracked, monkeypatch):
    """Go to a folder, as if a stage ran there; the repository unless another root is named."""

    def go(folder, root=None):
        folder.mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(folder)
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow sets it for the process's children
        if root is not None:
            monkeypatch.setenv("GPTLINEAGE_ROOT", str(root))
        else:
            monkeypatch.delenv("GPTLINEAGE_ROOT", raising=False)
        return folder

    return go


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def journal(tmp_path, clock):
    journal = Journal(tmp_path / "labels.sqlite", clock=clock)
    yield journal
    journal.close()

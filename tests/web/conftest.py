"""One registry of tiny models, and one server over it."""

import pytest

from components.web.desk import Desk
from tests.web.serving import make_folders, register, serving


@pytest.fixture(scope="package")  # its environment must not outlive these tests: others follow in the process
def registry(tmp_path_factory):
    """Models of a repository of its own: gpt-ppo, whose champion is not its newest, gpt-long, gpt-reward."""
    root = tmp_path_factory.mktemp("repository")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTLINEAGE_ROOT", str(root))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlruns/mlflow.db")
        folders = make_folders(tmp_path_factory.mktemp("models"))
        register("gpt-ppo", folders / "chat", "champion")
        register("gpt-ppo", folders / "chat", "candidate")
        register("gpt-long", folders / "long")
        register("gpt-reward", folders / "reward")
        yield root


@pytest.fixture(scope="package")
def server(registry):
    with serving() as running:
        yield running


@pytest.fixture(scope="session")
def window():
    """A browser."""
    from tests.web.browser import chromium  # noqa: PLC0415

    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return Desk(tmp_path_factory.mktemp("labels") / "labels.sqlite")


@pytest.fixture(scope="module")
def visitor(registry, window, desk):
    """Somebody in front of the pages of a server of their own."""
    from tests.web.browser import Person  # noqa: PLC0415

    with serving(desk=desk) as running:
        yield Person(window, running)

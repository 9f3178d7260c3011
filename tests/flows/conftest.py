"""What the tests of flows share."""

import pytest

from tests.flows.repository import make_repository


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A committed tiny repository in which README's other door has gone the whole road. Tests work in copies of it."""
    repository = make_repository(tmp_path_factory.mktemp("finished") / "home")
    repository.run("bash", "-c", "python -m flows.lineage --until ingest && dvc repro")
    repository.run("git", "add", "-A")
    repository.run(*"git -c user.name=t -c user.email=t@example.org commit -qm ran".split())
    return repository

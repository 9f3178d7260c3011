"""Loaded models: each once, the one used longest ago leaves, and names as MLflow's registry has them."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from components.checkpoints import CheckpointError
from components.inference.catalogue import Catalogue, UnknownModel, identity
from components.inference.pool import Pool, PoolFull, load_folder
from components.mlflow_store import Registered
from components.provenance import weights_sha256
from tests.components.chatting import make_models


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def pool(folders):
    made, hold = [], threading.Event()

    def load(version):
        hold.wait(10)
        if version == "gpt-none/1":
            raise CheckpointError("no such files")
        made.append(version)
        return load_folder(version, folders / "chat", slots=2)

    pool = Pool(load, models=2)
    pool.made, pool.hold = made, hold
    yield pool
    hold.set()
    pool.close()


def test_a_version_is_loaded_once_however_many_ask_at_once(pool, folders):
    with ThreadPoolExecutor(8) as threads:
        leases = list(threads.map(pool.take, ["gpt-sft/1"] * 8))
    assert pool.made == [] and not leases[0].future.done()
    pool.hold.set()
    assert len({id(lease.future.result(10)) for lease in leases}) == 1
    assert pool.made == ["gpt-sft/1"]
    assert leases[0].future.result().digest == weights_sha256(folders / "chat")


def test_the_one_used_longest_ago_makes_room_and_none_that_is_used(pool):
    pool.hold.set()
    first, second = pool.take("gpt-sft/1"), pool.take("gpt-ppo/1")
    engine = first.future.result(10).engine
    second.future.result(10)
    with pytest.raises(PoolFull):
        pool.take("gpt-dpo/1")
    first.give_back()
    second.give_back()
    pool.take("gpt-ppo/1").future.result(10)
    pool.take("gpt-dpo/1").future.result(10)
    assert [each.version for each in pool.loaded()] == ["gpt-ppo/1", "gpt-dpo/1"]
    assert not engine._thread.is_alive()


def test_what_could_not_be_loaded_is_tried_again_and_takes_no_room(pool):
    pool.hold.set()
    for _ in range(3):
        with pytest.raises(CheckpointError):
            pool.take("gpt-none/1").future.result(10)
    pool.take("gpt-sft/1").future.result(10)
    pool.take("gpt-ppo/1").future.result(10)


def test_a_reward_model_is_refused_with_a_sentence(folders):
    with pytest.raises(CheckpointError, match="scores replies and writes none"):
        load_folder("gpt-reward/1", folders / "reward")


VERSIONS = [
    Registered("gpt-ppo", "10", ("candidate",), 30),
    Registered("gpt-ppo", "2", ("champion",), 20),
    Registered("gpt-sft", "3", (), 10),
    Registered("gpt-sft", "1", ("candidate-smoke",), 5),
]


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("gpt-ppo", "gpt-ppo/2"),
        ("gpt-ppo@candidate", "gpt-ppo/10"),
        ("gpt-ppo/10", "gpt-ppo/10"),
        ("gpt-sft", "gpt-sft/3"),
        ("gpt-sft@candidate-smoke", "gpt-sft/1"),
    ],
)
def test_names_mean_what_they_mean_in_the_registry(name, version):
    assert identity(Catalogue(lambda: VERSIONS).find(name)) == version


@pytest.mark.parametrize("name", ["", "gpt", "gpt-ppo@", "gpt-ppo/", "gpt-ppo/99", "gpt-sft@champion", "a/b/c", "/3"])
def test_other_names_are_refused_with_those_that_there_are(name):
    with pytest.raises(UnknownModel, match="Registered are gpt-ppo, gpt-sft"):
        Catalogue(lambda: VERSIONS).find(name)


def test_the_store_is_asked_again_after_some_seconds():
    asked = []
    catalogue = Catalogue(lambda: asked.append(1) or VERSIONS, fresh=3600)
    assert catalogue.versions() == catalogue.versions() == VERSIONS and len(asked) == 1
    catalogue = Catalogue(lambda: asked.append(1) or VERSIONS, fresh=-1)
    catalogue.versions(), catalogue.versions()
    assert len(asked) == 3

"""Several loaded models, of which those stay that were used last."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from components.checkpoints import CheckpointError, load_gpt, load_tokenizer, model_kind, recorded_precision
from components.data.chat import ChatTokenizer
from components.inference.engine import QUEUE, SLOTS, Engine, at_once
from components.mlflow_store import download_model
from components.models.precision import bf16_pays, training_device
from components.provenance import weights_sha256

MODELS = 4  # that stay loaded: base, SFT and PPO side by side, and one more


class PoolFull(RuntimeError):
    """Every loaded model is being used."""


@dataclass(frozen=True)
class Loaded:
    """A model that answers: its engine, its tokenizer, and the SHA-256 of its weights."""

    version: str
    engine: Engine
    tokenizer: ChatTokenizer
    digest: str


def load_folder(
    version: str,
    folder: Path,
    *,
    slots: int = SLOTS,
    queue: int = QUEUE,
    post: Callable[[Callable[[], None]], object] = at_once,
) -> Loaded:
    """The model of a folder, ready to answer, in the precision it was trained in where that is not slower here.

    Raises:
        CheckpointError: the folder holds no language model.
    """
    if model_kind(folder) != "gpt":
        what = (
            "a reward model: it scores replies"
            if model_kind(folder) == "scalar_gpt"
            else "a classifier: it tells classes"
        )
        raise CheckpointError(f"{version} is {what} and writes none")
    model, device = load_gpt(folder), training_device("auto")
    mixed = recorded_precision(folder) == "bf16-mixed" and bf16_pays(device)
    precision = "bf16-mixed" if mixed else "32-true"
    engine = Engine(model.to(device), slots=slots, queue=queue, precision=precision, post=post)
    return Loaded(version, engine, load_tokenizer(folder), weights_sha256(folder))


def load_version(
    version: str,
    *,
    slots: int = SLOTS,
    queue: int = QUEUE,
    post: Callable[[Callable[[], None]], object] = at_once,
) -> Loaded:
    """A registered version such as `gpt-sft/3`, ready to answer.

    Raises:
        CheckpointError: its files cannot be had, or are no language model.
    """
    folder = download_model(f"models:/{version}")
    if folder is None:
        raise CheckpointError(f"the files of {version} cannot be had from MLflow's store")
    return load_folder(version, folder, slots=slots, queue=queue, post=post)


@dataclass
class _Entry:
    future: "Future[Loaded]" = field(default_factory=Future)
    users: int = 0


class Lease:
    """A version that stays, perhaps not loaded yet, until it is given back."""

    def __init__(self, entry: _Entry, lock: threading.Lock) -> None:
        self.future = entry.future
        self._entry, self._lock = entry, lock

    def give_back(self) -> None:
        """To be called once."""
        with self._lock:
            self._entry.users -= 1


class Pool:
    """Models by version, loaded when they are asked for, each once however many ask at once.

    Where there is no room, the one that nobody uses and that was used longest ago makes it.
    """

    def __init__(self, load: Callable[[str], Loaded] = load_version, *, models: int = MODELS) -> None:
        self._load, self._models = load, models
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # used longest ago first
        self._loader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader")

    def take(self, version: str) -> Lease:
        """A version, which is loaded where it is not.

        Raises:
            PoolFull: there is no room, and all that are loaded are being used.
        """
        with self._lock:
            entry = self._entries.get(version)
            if entry is None:
                self._make_room()
                entry = self._entries[version] = _Entry()
                self._loader.submit(self._fill, version, entry)
            self._entries.move_to_end(version)
            entry.users += 1
            return Lease(entry, self._lock)

    def loaded(self) -> list[Loaded]:
        """Those that are ready, the one used longest ago first."""
        with self._lock:
            return list(self._ready())

    def close(self) -> None:
        """End all engines."""
        self._loader.shutdown(wait=True, cancel_futures=True)
        for each in self.loaded():
            each.engine.close()

    def _ready(self) -> Iterator[Loaded]:
        for entry in self._entries.values():
            if entry.future.done() and entry.future.exception() is None:
                yield entry.future.result()

    def _make_room(self) -> None:
        if len(self._entries) < self._models:
            return
        idle = next((v for v, entry in self._entries.items() if not entry.users and entry.future.done()), None)
        if idle is None:
            raise PoolFull(f"{self._models} models are loaded, and all are being used")
        self._loader.submit(self._entries.pop(idle).future.result().engine.close)

    def _fill(self, version: str, entry: _Entry) -> None:
        try:
            entry.future.set_result(self._load(version))
        except BaseException as error:  # it is for those who asked
            with self._lock:
                self._entries.pop(version, None)
            entry.future.set_exception(error)

"""What can be asked for, by the names that MLflow's registry knows: `gpt-ppo@champion`, `gpt-sft/3`, `gpt-ppo`."""

import re
import threading
import time
from collections.abc import Callable, Sequence

from components.lineage import CHAMPION
from components.mlflow_store import Registered, registered

FRESH_SECONDS = 5.0  # a list from the store takes tens of milliseconds; a new champion answers within this time
_FORM = re.compile(r"(?P<name>[^@/]+)(?:@(?P<alias>[^@/]+)|/(?P<version>\d+))?")


class UnknownModel(ValueError):
    """No registered version is meant by a name; the message says what there is."""


class Catalogue:
    """The registered versions, asked for anew when what is known of them is older than some seconds."""

    def __init__(self, search: Callable[[], Sequence[Registered]] = registered, fresh: float = FRESH_SECONDS) -> None:
        self._search, self._fresh = search, fresh
        self._lock = threading.Lock()
        self._known: Sequence[Registered] = ()
        self._asked_at = float("-inf")

    @property
    def fresh(self) -> bool:
        """Whether the next question is answered without asking the store."""
        return time.monotonic() - self._asked_at <= self._fresh

    def versions(self) -> Sequence[Registered]:
        """All of them, by name, the newest of a name first.

        Raises:
            MlflowException: the store is down or refuses.
        """
        with self._lock:
            if not self.fresh:
                self._known = self._search()
                self._asked_at = time.monotonic()
            return self._known

    def find(self, model: str) -> Registered:
        """The version that a name means; a name alone is its champion, or else its newest.

        Raises:
            UnknownModel: there is none.
            MlflowException: the store is down or refuses.
        """
        versions = self.versions()
        form = _FORM.fullmatch(model)
        same = [each for each in versions if form and each.name == form["name"]]
        if form and form["alias"]:
            same = [each for each in same if form["alias"] in each.aliases]
        elif form and form["version"]:
            same = [each for each in same if each.version == form["version"]]
        else:
            same = [each for each in same if CHAMPION in each.aliases] or same
        if not same:
            names = ", ".join(dict.fromkeys(each.name for each in versions)) or "none: `make run` registers some"
            raise UnknownModel(f"no model {model!r}. Registered are {names}; each as name, name@alias or name/version")
        return same[0]


def identity(version: Registered) -> str:
    """The name of one version and no other: `gpt-sft/3`."""
    return f"{version.name}/{version.version}"

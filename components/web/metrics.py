"""What the server counts, as Prometheus reads it (text format 0.0.4)."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from components.inference.pool import Loaded

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # bounds of the buckets
PREFIX = "gptlineage"


class Histogram:
    """Durations by bucket."""

    def __init__(self) -> None:
        self.buckets, self.total = [0] * (len(SECONDS) + 1), 0.0

    def observe(self, seconds: float) -> None:
        """One more."""
        self.buckets[bisect_left(SECONDS, seconds)] += 1
        self.total += seconds


class Metrics:
    """Counts since the server began. Neither texts nor who asked."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.tokens: Counter[tuple[str, str]] = Counter()
        self.cancelled = 0
        self.first_token: defaultdict[str, Histogram] = defaultdict(Histogram)

    def text(self, loaded: Iterable[Loaded]) -> str:
        """All of them, and how busy the engines are."""
        loaded = list(loaded)
        engines = {each.version: each.engine for each in loaded}
        lines = [
            *_series("requests_total", "counter", "Responses by route and status.",
                     (({"route": route, "status": str(status)}, n) for (route, status), n in self.requests.items())),
            *_series("tokens_total", "counter", "Tokens by model, read (prompt) and drawn (completion).",
                     (({"model": model, "kind": kind}, n) for (model, kind), n in self.tokens.items())),
            *_series("cancelled_total", "counter", "Requests whose client had gone.", [({}, self.cancelled)]),
            *_series("live_rows", "gauge", "Replies in the making.",
                     (({"model": name}, engine.live) for name, engine in engines.items())),
            *_series("waiting_rows", "gauge", "Replies that wait for a slot.",
                     (({"model": name}, engine.waiting) for name, engine in engines.items())),
            *_series("slots", "gauge", "Replies that can be in the making.",
                     (({"model": name}, engine.slots) for name, engine in engines.items())),
            *_series("engine_steps_total", "counter", "Forward passes.",
                     (({"model": name}, engine.steps) for name, engine in engines.items())),
            *self._first_token(),
        ]  # fmt: skip
        return "\n".join(lines) + "\n"

    def _first_token(self) -> Iterator[str]:
        name = f"{PREFIX}_first_token_seconds"
        yield f"# HELP {name} From a request to its first token."
        yield f"# TYPE {name} histogram"
        for model, histogram in self.first_token.items():
            seen = 0
            for bound, count in zip((*map(str, SECONDS), "+Inf"), histogram.buckets, strict=True):
                seen += count
                yield f"{name}_bucket{_labels({'model': model, 'le': bound})} {seen}"
            yield f"{name}_sum{_labels({'model': model})} {histogram.total:.6f}"
            yield f"{name}_count{_labels({'model': model})} {seen}"


def _series(name: str, kind: str, about: str, values: Iterable[tuple[dict[str, str], int]]) -> Iterator[str]:
    yield f"# HELP {PREFIX}_{name} {about}"
    yield f"# TYPE {PREFIX}_{name} {kind}"
    for labels, value in values:
        yield f"{PREFIX}_{name}{_labels(labels)} {value}"


def _labels(labels: dict[str, str]) -> str:
    quoted = {key: value.replace("\\", "\\\\").replace('"', '\\"') for key, value in labels.items()}
    return "{" + ",".join(f'{key}="{value}"' for key, value in quoted.items()) + "}" if labels else ""

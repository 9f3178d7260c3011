"""One side of a benchmark in a process of its own: a line on standard input asks for a round, a line answers.

python -m benchmarks.worker ours_pretrain FOLDER '{"steps": 4, ...}'

What a side prints goes to standard error; the answers, JSON, go where standard output was.
"""

import importlib
import json
import os
import re
import resource
import sys
import traceback
from pathlib import Path


def main() -> None:
    """Load a side, then run rounds until standard input ends."""
    side, folder, options = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    os.chdir(folder)
    try:
        run_round = importlib.import_module(f"benchmarks.sides.{side}").start(Path(folder), **json.loads(options))
        print(json.dumps({"ready": True}), file=answers)
        for _ in sys.stdin:
            rate = run_round()
            print(json.dumps({"rate": rate, "peak_gib": round(peak_gib(), 3)}), file=answers)
    except Exception as error:  # whatever a peer raises is a broken benchmark, named in the report
        traceback.print_exc()
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers)
    os._exit(0)


def peak_gib() -> float:
    """The most memory that this program has had.

    What getrusage says counts the process that it was forked from too, which may have held a model.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.findall(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)[0]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()

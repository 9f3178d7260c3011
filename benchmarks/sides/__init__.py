"""The sides of a benchmark: each module loads what it times and returns a function that runs one round.

A module has one public function, `start(folder, **options) -> Callable[[], float]`; each call of what it returns runs
one round and returns its rate in the case's unit. Sides run in processes of their own (benchmarks/worker.py).
"""

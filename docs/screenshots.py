"""Pictures of the MLflow pages of this repository's runs, taken in a real browser.

    python -m docs.screenshots [--out docs/screenshots]

Needs Chromium (Debian: `apt-get install chromium`) and at least two finished lineages to compare.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from mlflow import MlflowClient

from flows.ui import HOST, servers, wait_until_up

QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
)  # fmt: skip
RENDER_MILLISECONDS = 20_000


def pages(address: str, store: str) -> dict[str, str]:
    """Name and address of each page to picture."""
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("gptlineage")
    if experiment is None:
        sys.exit("no runs yet: `make run` first")
    finished = "tags.kind = 'lineage' and attributes.status = 'FINISHED'"
    found = client.search_runs([experiment.experiment_id], finished, order_by=["attributes.start_time DESC"])
    full = [run.info.run_id for run in found if "evaluate/ppo/gold_win_rate" in run.data.metrics]
    distinct = {run.data.tags.get("workspace"): run.info.run_id for run in found if run.info.run_id in full}
    compared = json.dumps(list(distinct.values())[:2]).replace(" ", "")
    here = f"{address}/#/experiments/{experiment.experiment_id}"
    ppo = client.get_model_version_by_alias("gpt-ppo", "candidate")
    return {
        "lineage": f"{here}/runs?compareRunsMode=TABLE",
        "charts": f"{here}/runs?compareRunsMode=CHART",
        "compare": f'{address}/#/compare-runs?runs={compared}&experiments=["{experiment.experiment_id}"]',
        "models": f"{address}/#/models",
        "ppo": f"{here}/runs/{ppo.run_id}",
        "ppo-curves": f"{here}/runs/{ppo.run_id}/model-metrics",
    }


def picture(browser: str, url: str, target: Path) -> None:
    """Render a page and save it as PNG."""
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, *QUIET, f"--user-data-dir={profile}", "--window-size=1600,1100",
                   f"--virtual-time-budget={RENDER_MILLISECONDS}", f"--screenshot={target.resolve()}", url]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=180)


def main() -> None:
    """Start MLflow's server on a free port, picture every page, stop it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/screenshots"))
    out = parser.parse_args().out
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("Chromium is not installed")
    out.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    root = Path.cwd()
    address, command, extra = servers(0, port, root)["MLflow"]
    server = subprocess.Popen(command, env={**os.environ, **extra}, stdout=subprocess.DEVNULL)
    try:
        if not wait_until_up(address, server):
            sys.exit("MLflow did not start")
        for name, url in pages(address, f"sqlite:///{root}/mlruns/mlflow.db").items():
            picture(browser, url, out / f"{name}.png")
            print(out / f"{name}.png", flush=True)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()

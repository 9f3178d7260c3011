"""Pictures of the pages that this repository's runs have in MLflow and Prefect, taken in a real browser.

    pip install '.[docs]' && python -m docs.screenshots [--out docs/screenshots]

Needs Chromium and its driver (Debian: `apt-get install chromium chromium-driver`), two finished lineages, and for
Prefect's form a deployment (prefect.yaml says how; the page is left out without one).
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

from components.store_location import ready
from components.views import TRAINING, lineages_page, run_page
from flows.server import HOST, free_port
from flows.ui import wait_until_up

QUIET = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--window-size=1600,1100",
)  # fmt: skip
RENDER_SECONDS = 6.0
# Buttons that close what MLflow shows to newcomers: its assistant, its tour of the model registry.
CLOSERS = "//button[@aria-label='Close' or normalize-space()='Try it now']"


@dataclass(frozen=True)
class Picture:
    """A page: the file's name, its address, a text to type into the field with a placeholder, what to press."""

    name: str
    url: str
    type_into: tuple[str, str] | None = None
    press: tuple[str, ...] = ()


def mlflow_pictures(address: str) -> list[Picture]:
    """The experiment as it opens, one lineage, two compared, the registry, a version, a run's curves."""
    client = MlflowClient(ready()[0])
    experiment = client.get_experiment_by_name("gptlineage")
    if experiment is None:
        sys.exit("no runs yet: `make run` first")
    finished = "tags.kind = 'lineage' and attributes.status = 'FINISHED'"
    found = client.search_runs([experiment.experiment_id], finished, order_by=["attributes.start_time DESC"])
    whole = [run.info.run_id for run in found if "ppo/gold_win_rate" in run.data.metrics]
    if len(whole) < 2:
        sys.exit("one whole lineage is there, two are compared: `python -m flows.lineage --set ppo.kl_coef=0.1` first")
    here = f"{address}/#/experiments/{experiment.experiment_id}"
    compared = json.dumps(whole[:2]).replace(" ", "")
    ppo = client.get_model_version_by_alias("gpt-ppo", "candidate")
    return [
        Picture("mlflow-lineages", lineages_page(address, experiment.experiment_id)),
        Picture("mlflow-lineage", run_page(address, experiment.experiment_id, whole[0])),
        Picture(
            "mlflow-compare",
            f'{address}/#/compare-runs?runs={compared}&experiments=["{experiment.experiment_id}"]&{TRAINING}',
            press=("//*[normalize-space(text())='Visualizations']", "//button[@role='switch']"),
        ),
        Picture("mlflow-models", f"{address}/#/models?{TRAINING}"),
        Picture("mlflow-version", f"{address}/#/models/gpt-ppo/versions/{ppo.version}?{TRAINING}"),
        Picture("mlflow-ppo-curves", f"{here}/runs/{ppo.run_id}/model-metrics?{TRAINING}",
                type_into=("Search metric charts", "rollout")),
    ]  # fmt: skip


def prefect_pictures(address: str) -> list[Picture]:
    """A flow run with its graph, and the form of the whole road."""

    def ask(what: str) -> list[dict[str, Any]]:
        body = json.dumps({"sort": "END_TIME_DESC", "limit": 1} if what == "flow_runs" else {}).encode()
        request = urllib.request.Request(f"{address}/api/{what}/filter", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return list(json.load(answer))

    pictures = [Picture("prefect-run", f"{address}/runs/flow-run/{run['id']}") for run in ask("flow_runs")]
    forms = [each for each in ask("deployments") if each["name"] == "default"]
    return pictures + [Picture("prefect-form", f"{address}/deployments/deployment/{f['id']}/run") for f in forms]


@contextmanager
def pages() -> Iterator[tuple[str, str]]:
    """Both servers on free ports, as `make ui` starts them: the addresses of Prefect and MLflow."""
    prefect, mlflow, chat = free_port(), free_port(), free_port()
    ports = ["--prefect-port", f"{prefect}", "--mlflow-port", f"{mlflow}", "--chat-port", f"{chat}"]
    command = [sys.executable, "-m", "flows.ui", *ports]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    addresses = f"http://{HOST}:{prefect}", f"http://{HOST}:{mlflow}"
    try:
        if not all(wait_until_up(address, server) for address in addresses):
            sys.exit("the pages did not start; see .lineage/logs")
        yield addresses
    finally:
        server.terminate()
        server.wait()


@contextmanager
def browser() -> Iterator[WebDriver]:
    """A Chromium without a window and with a profile of its own."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        sys.exit("Chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    with tempfile.TemporaryDirectory() as profile:
        for argument in (*QUIET, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        with webdriver.Chrome(options, webdriver.ChromeService(driver)) as window:
            yield window


def click_all(window: WebDriver, path: str) -> int:
    """Click every visible element that an XPath finds; how many there were."""
    found = [element for element in window.find_elements(By.XPATH, path) if element.is_displayed()]
    for element in found:
        window.execute_script("arguments[0].click()", element)
    return len(found)


def take(window: WebDriver, wanted: Picture, target: Path) -> None:
    """Open a page, close what covers it, do what the picture asks for, save it as PNG."""
    window.get("about:blank")  # an address that differs after # alone would not load anew
    window.get(wanted.url)
    time.sleep(RENDER_SECONDS)
    if click_all(window, CLOSERS):
        time.sleep(1)
    for path in wanted.press:
        click_all(window, path)
        time.sleep(1)
    if wanted.type_into:
        placeholder, text = wanted.type_into
        window.find_element(By.XPATH, f"//input[@placeholder='{placeholder}']").send_keys(text)
        time.sleep(RENDER_SECONDS)
    window.save_screenshot(str(target))


def main() -> None:
    """Picture every page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/screenshots"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with pages() as (prefect, mlflow), browser() as window:
        for wanted in mlflow_pictures(mlflow) + prefect_pictures(prefect):
            take(window, wanted, out / f"{wanted.name}.png")
            print(out / f"{wanted.name}.png", flush=True)


if __name__ == "__main__":
    main()

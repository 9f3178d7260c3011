"""Pictures of the MLflow pages of this repository's runs, taken in a real browser.

    pip install '.[docs]' && python -m docs.screenshots [--out docs/screenshots]

Needs Chromium and its driver (Debian: `apt-get install chromium chromium-driver`) and at least two finished lineages.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mlflow import MlflowClient
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

from flows.ui import HOST, servers, wait_until_up

QUIET = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--window-size=1600,1100",
)  # fmt: skip
RENDER_SECONDS = 5.0
# Buttons that close what MLflow shows to newcomers: its assistant, its tour of the model registry.
CLOSERS = "//button[@aria-label='Close' or normalize-space()='Try it now']"
EXPANDERS = (
    "//*[@role='gridcell']//button[.//*[local-name()='svg']] | //*[@role='row']//button[contains(@class,'tree')]"
)


def pages(address: str, store: str) -> dict[str, str]:
    """Name and address of each page to picture."""
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("gptlineage")
    if experiment is None:
        sys.exit("no runs yet: `make run` first")
    finished = "tags.kind = 'lineage' and attributes.status = 'FINISHED'"
    found = client.search_runs([experiment.experiment_id], finished, order_by=["attributes.start_time DESC"])
    full = [run for run in found if "ppo/gold_win_rate" in run.data.metrics]
    distinct = {run.data.tags.get("workspace"): run.info.run_id for run in full}
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


def click_all(driver: WebDriver, path: str) -> int:
    """Click every visible element that an XPath finds; how many there were."""
    found = [element for element in driver.find_elements(By.XPATH, path) if element.is_displayed()]
    for element in found:
        driver.execute_script("arguments[0].click()", element)
    return len(found)


def picture(driver: WebDriver, name: str, url: str, target: Path) -> None:
    """Open a page, close what covers it, unfold the lineages or search the curves, save it as PNG."""
    driver.get(url)
    time.sleep(RENDER_SECONDS)
    if click_all(driver, CLOSERS):
        time.sleep(1)
    if name == "lineage":
        click_all(driver, EXPANDERS)
        time.sleep(2)
    if name == "ppo-curves":
        driver.find_element(By.XPATH, "//input[@placeholder='Search metric charts']").send_keys("rollout")
        time.sleep(RENDER_SECONDS)
    driver.save_screenshot(str(target))


def main() -> None:
    """Start MLflow's server on a free port, picture every page, stop it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/screenshots"))
    out = parser.parse_args().out
    browser, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or chromedriver is None:
        sys.exit("Chromium or chromedriver is not installed")
    out.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    root = Path.cwd()
    address, command, extra = servers(0, port, root)["MLflow"]
    server = subprocess.Popen(command, env={**os.environ, **extra}, stdout=subprocess.DEVNULL)
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    with tempfile.TemporaryDirectory() as profile:
        for argument in (*QUIET, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        try:
            if not wait_until_up(address, server):
                sys.exit("MLflow did not start")
            with webdriver.Chrome(options, webdriver.ChromeService(chromedriver)) as driver:
                for name, url in pages(address, f"sqlite:///{root}/mlruns/mlflow.db").items():
                    picture(driver, name, url, out / f"{name}.png")
                    print(out / f"{name}.png", flush=True)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()

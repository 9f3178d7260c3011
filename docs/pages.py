"""Pictures of our own pages with replies, a task and votes in them, wide and on a phone, light and dark.

    pip install '.[docs]' && python -m docs.pages [--out docs/screenshots] [--language ko]

Needs Chromium and its driver (Debian: `apt-get install chromium chromium-driver`) and registered models (`make run`).
What it says is kept in a journal of its own, which is removed.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver

from components.data.records import Message
from components.labeling.answers import Task
from components.labeling.journal import Journal
from docs.screenshots import browser
from flows.server import HOST, free_port
from flows.ui import wait_until_up

SIZES = {"": (1200, 860), "-phone": (390, 844)}
SECONDS = 4.0  # for a reply, or a list from the store
ASKED = "What do you like to do on a rainy day?"
REPLIES = (
    "I like to read a good book by the window and listen to the rain. What about you?",
    "Rain.",
    "I love rainy days! Tea, a blanket and a long novel.",
    "I do not know what you mean by day day day day.",
)


def fill(journal: Path) -> None:
    """Ask of a journal what the picture of labelling shows."""
    messages = (Message(role="user", content=ASKED),)
    tasks = [Task(id=f"task-{number}", round=1, kind="ranking", prompt_id=f"prompt-{number}", messages=messages,
                  replies=REPLIES, created_at=0.0) for number in range(20)]  # fmt: skip
    made = Journal(journal)
    made.add(tasks)
    made.close()


def act(window: WebDriver, page: str) -> None:
    """Do on a page what its picture shows."""
    if page in ("chat", "compare"):
        window.find_element("id", "message").send_keys("hello, how are you?", Keys.ENTER)
    elif page == "label" and (start := window.find_elements("id", "next")):
        start[0].click()
        time.sleep(1)
        ActionChains(window).send_keys("6", "1", "7").perform()
    time.sleep(SECONDS)


def take(window: WebDriver, address: str, page: str, out: Path) -> None:
    """Picture a page in both sizes and both colours."""
    window.get("about:blank")
    window.get(f"{address}/#{page}")
    time.sleep(SECONDS)
    act(window, page)
    for size, (width, height) in SIZES.items():
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 800}
        window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        for colours in ("light", "dark"):
            wanted = [{"name": "prefers-color-scheme", "value": colours}]
            window.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})
            time.sleep(0.4)
            target = out / f"page-{page}{size}{'-dark' if colours == 'dark' else ''}.png"
            window.save_screenshot(str(target))
            print(target, flush=True)


def main() -> None:
    """Picture every page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/screenshots"))
    parser.add_argument("--language", choices=("en", "ko"), default="en")
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "labels.sqlite"
        fill(journal)
        command = [sys.executable, "-m", "components.web", "--port", str(port), "--labels", str(journal)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            address = f"http://{HOST}:{port}"
            if not wait_until_up(address, server):
                sys.exit("the server did not start")
            with browser() as window:
                spoken = {"userAgent": "", "acceptLanguage": arguments.language}
                window.execute_cdp_cmd("Emulation.setUserAgentOverride", spoken)
                for page in ("chat", "compare", "label", "lineage"):
                    take(window, address, page, out)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()

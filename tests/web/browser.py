"""A Chromium without a window, and what a person does in it."""

import contextlib
import os
import shutil
import tempfile

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.web.serving import wait_until

NEEDED = "GPTLINEAGE_NEED_BROWSER"  # .ci/run sets it, so that there these tests cannot be skipped
QUIET = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--window-size=1200,900", "--lang=en-US",
)  # fmt: skip


@contextlib.contextmanager
def chromium():
    """The driver of a browser with a profile of its own."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        sentence = "pages are tested in Debian's Chromium: apt-get install chromium chromium-driver"
        (pytest.fail if os.environ.get(NEEDED) else pytest.skip)(sentence)
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory() as profile:
        for argument in (*QUIET, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        with webdriver.Chrome(options, webdriver.ChromeService(driver)) as window:
            yield window


class Person:
    """Somebody in front of a page of a server."""

    def __init__(self, window, server):
        self.window, self.server = window, server

    def open(self, page="chat"):
        self.window.get("about:blank")
        self.window.get(f"{self.server.address}/#{page}")
        wait_until(lambda: self.all("header nav a"))

    def arrive(self, page):
        """Open a page in a browser that knows nothing of the server yet."""
        self.open(page)
        self.run("localStorage.clear(); sessionStorage.clear()")
        self.open(page)

    def all(self, path):
        return self.window.find_elements(By.CSS_SELECTOR, path)

    def one(self, path):
        wait_until(lambda: self.all(path))
        return self.all(path)[0]

    def texts(self, path):
        """What is seen of elements, all at one moment: a page may draw them anew at any time."""
        return self.run("return [...document.querySelectorAll(arguments[0])].map(each => each.innerText)", path)

    def text(self, path):
        wait_until(lambda: self.texts(path))
        return self.texts(path)[0]

    def press(self, *keys):
        webdriver.ActionChains(self.window).send_keys(*keys).perform()

    def click(self, name, within="body"):
        """Press the button that begins with some words."""
        path = f"{within} button"

        def pressed():
            try:
                found = [each for each in self.all(path) if each.is_displayed() and each.text.startswith(name)]
                if found:
                    found[0].click()
            except StaleElementReferenceException:  # drawn anew in between
                return False
            return bool(found)

        wait_until(pressed)

    def say(self, text):
        self.one("#message").send_keys(text, Keys.ENTER)

    def run(self, script, *arguments):
        return self.window.execute_script(script, *arguments)

    def foreign(self):
        """Addresses of other hosts that the page has asked for anything."""
        asked = self.run("return performance.getEntries().map(each => each.name).filter(name => name.includes('://'))")
        return [name for name in asked if not name.startswith(self.server.address + "/")]

    def errors(self):
        """What a browser calls severe; requests that were refused, or came when the server had ended, are not."""
        log = self.window.get_log("browser")
        return [
            line["message"]
            for line in log
            if line["level"] == "SEVERE" and "Failed to load resource" not in line["message"]
        ]

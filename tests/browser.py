"""A headless Chromium for tests: what the page shows, complains of, and asks the network for."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from selenium.webdriver.chrome.webdriver import WebDriver

PATIENCE_S = 30.0
"""How long a page may take to show something before the test fails."""
POLL_S = 0.1

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs Chromium and its driver (Debian: chromium-driver)"
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-sync",
    "--disable-extensions",
    "--disable-component-update",
    "--disable-background-networking",
    "--no-first-run",
)


@dataclass
class Browser:
    """One window."""

    driver: WebDriver

    def look_like(self, width: int, height: int, scheme: str, *, scale: float = 1) -> None:
        """Take the size of a device, and its owner's taste."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600},
        )
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
        )

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self.driver.execute_script(f"return {expression};")

    def text(self, selector: str) -> str:
        """What an element shows; nothing if it is hidden."""
        node = f"document.querySelector({json.dumps(selector)})"
        return str(self.ask(f"{node}?.checkVisibility() ? {node}.innerText : ''"))

    def wait(self, selector: str, claim: Callable[[str], object]) -> str:
        """Wait until what an element shows fulfils a claim; returns it."""
        give_up_at = time.monotonic() + PATIENCE_S
        while not claim(shown := self.text(selector)):
            assert time.monotonic() < give_up_at, f"{selector} shows {shown!r}"
            time.sleep(POLL_S)
        return shown

    def complaints(self) -> list[str]:
        """What the console has logged since the last look: errors and violations of the policy."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requested(self) -> list[str]:
        """The URLs that were asked for since the last look."""
        messages = [json.loads(row["message"]) for row in self.driver.get_log("performance")]
        sent = (item["message"] for item in messages)
        urls = [
            item["params"]["request"]["url"]
            for item in sent
            if item["method"] == "Network.requestWillBeSent"
        ]
        own = {"chrome", "data"}  # the empty tab that it begins with
        return [url for url in urls if urlsplit(url).scheme not in own]

    def picture(self, path: Path) -> None:
        """Save what the window shows."""
        path.write_bytes(self.driver.get_screenshot_as_png())


@contextlib.contextmanager
def browser(profile: Path) -> Generator[Browser]:
    """Start a browser with a profile of its own."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield Browser(driver)
    finally:
        driver.quit()

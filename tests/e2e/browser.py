"""Chromium without a screen, driven over WebDriver with the standard library."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
LIMIT_SECONDS = 30


class Browser:
    """One session of a browser."""

    def __init__(self, driver: str, folder: Path) -> None:
        arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            f"--user-data-dir={folder}",
        ]
        self._driver = driver
        options = {"goog:chromeOptions": {"args": arguments}}
        made = self._send("POST", "/session", {"capabilities": {"alwaysMatch": options}})
        self._base = f"/session/{made['sessionId']}"

    def close(self) -> None:
        self._send("DELETE", self._base)

    def open(self, address: str) -> None:
        self._send("POST", f"{self._base}/url", {"url": address})

    @property
    def address(self) -> str:
        return str(self._send("GET", f"{self._base}/url"))

    @property
    def text(self) -> str:
        return str(self.run("return document.body.innerText"))

    def run(self, script: str) -> Any:
        return self._send("POST", f"{self._base}/execute/sync", {"script": script, "args": []})

    def fill(self, selector: str, text: str) -> None:
        found = self._find(selector)
        self._send("POST", f"{self._base}/element/{found}/clear", {})
        self._send("POST", f"{self._base}/element/{found}/value", {"text": text})

    def click(self, selector: str) -> None:
        self._send("POST", f"{self._base}/element/{self._find(selector)}/click", {})

    def cookies(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._send("GET", f"{self._base}/cookie")
        return found

    def add_authenticator(self) -> str:
        """A virtual authenticator with a verified user, as a phone or a laptop has."""
        wanted = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
        wanted |= {"isUserVerified": True, "isUserConsenting": True}
        return str(self._send("POST", f"{self._base}/webauthn/authenticator", wanted))

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LIMIT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"not in {LIMIT_SECONDS} s at {self.address}: {self.text[:1000]}"
            time.sleep(0.05)

    def _find(self, selector: str) -> str:
        found: list[dict[str, str]] = []

        def look() -> bool:
            found.extend(self._send("POST", f"{self._base}/elements", {"using": "css selector", "value": selector}))
            return bool(found)

        self.wait_for(look)
        return found[0][ELEMENT]

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._driver + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=LIMIT_SECONDS * 2) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            with error:
                told = json.load(error)["value"]
            raise AssertionError(f"{method} {path}: {told['error']}: {told['message']}") from error


def missing() -> str:
    """What a browser's tests lack here, in words; nothing where all is there."""
    lacking = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser of its own, with nothing remembered."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_driver(port)
        one = Browser(f"http://127.0.0.1:{port}", folder)
        try:
            yield one
        finally:
            one.close()
    finally:
        driver.terminate()
        driver.wait()


def _await_driver(port: int) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)

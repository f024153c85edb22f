"""A real browser for tests of pages: headless Chromium, spoken to over its DevTools pipe. Nothing is downloaded."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
)  # fmt: skip
SECONDS = 60


def find_browser() -> str | None:
    """The path of a Chromium, if there is one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One Chromium with one tab; `console` gathers what pages say on their console and errors they throw."""

    def __init__(self, path: str) -> None:
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        out, self.write = os.pipe()
        self.read, back = os.pipe()
        # Chromium reads from descriptor 3 and writes to 4
        script = f'exec 3<&{out} 4>&{back}; exec "$@"'
        command = ["bash", "-c", script, "sh", path, *QUIET, f"--user-data-dir={self.folder.name}", "about:blank"]
        self.process = subprocess.Popen(
            command,
            pass_fds=(out, back),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(out)
        os.close(back)
        self.buffer, self.count = b"", itertools.count(1)
        self.console: list[str] = []
        self.loaded = False
        self.requests: list[str] = []
        targets = self.call("Target.getTargets", root=True)["targetInfos"]
        tab = next(t["targetId"] for t in targets if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", {"targetId": tab, "flatten": True}, root=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, params: dict[str, Any] | None = None, *, root: bool = False) -> dict[str, Any]:
        """A DevTools command and its result."""
        number = next(self.count)
        message: dict[str, Any] = {"id": number, "method": method, "params": params or {}}
        if not root:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])

    def open(self, path: Path, *, width: int = 1400, height: int = 900, dark: bool = False) -> None:
        """Load a file at a width in CSS px."""
        self.console.clear()
        self.requests.clear()
        mobile = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", mobile)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", {"features": scheme})
        self.loaded = False
        gone = self.call("Page.navigate", {"url": path.resolve().as_uri()})
        assert "errorText" not in gone, f"{path}: {gone['errorText']}"
        while not self.loaded:
            self._next()

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", {"expression": script, "returnByValue": True, "awaitPromise": True})
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def shot(self, path: Path) -> None:
        """A picture of the whole page."""
        data = self.call("Page.captureScreenshot", {"captureBeyondViewport": True})["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(SECONDS)
        os.close(self.write)
        os.close(self.read)
        self.folder.cleanup()

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + SECONDS
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.read], [], [], max(0.0, until - time.monotonic()))
            chunk = os.read(self.read, 1 << 20) if ready else b""
            assert chunk, "the browser said nothing more"
            self.buffer += chunk
        text, self.buffer = self.buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        method, params = message.get("method"), message.get("params", {})
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Runtime.consoleAPICalled":
            self.console.append(str(params["args"]))
        elif method == "Runtime.exceptionThrown":
            self.console.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.console.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        return message

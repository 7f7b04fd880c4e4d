"""A headless Chromium over the DevTools protocol: as much of it as the browser test needs."""

import base64
import functools
import http.server
import itertools
import json
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import websocket

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--mute-audio",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
]


def chromium() -> str | None:
    """The browser of this machine, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


#: What Chromium answers to an expression whose document went away while it was evaluated.
GONE = ("Inspected target navigated or closed", "Execution context was destroyed", "Cannot find context")


class DocumentGone(Exception):
    """The page that was asked has given way to the next one."""


class Page:
    """One tab. `errors` collects console errors, uncaught exceptions and failed requests since the last `open`."""

    def __init__(self, socket: websocket.WebSocket):
        self._socket, self._ids = socket, itertools.count(1)
        self.errors: list[str] = []
        self._loaded = False
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters):
        """Send one command and return its result."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                if "error" in message and message["error"].get("message", "").startswith(GONE):
                    raise DocumentGone(message["error"]["message"])
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self._notice(message)

    def _notice(self, message: dict) -> None:
        event, details = message.get("method"), message.get("params", {})
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Runtime.exceptionThrown":
            thrown = details["exceptionDetails"]
            self.errors.append(thrown.get("exception", {}).get("description") or thrown["text"])
        elif event == "Runtime.consoleAPICalled" and details["type"] in ("error", "assert"):
            self.errors.append(" ".join(str(arg.get("value", arg.get("description"))) for arg in details["args"]))
        elif event == "Log.entryAdded" and details["entry"]["level"] == "error":
            self.errors.append(f"{details['entry']['text']} {details['entry'].get('url', '')}")

    def view(self, width: int, height: int) -> None:
        """Set the size of the window, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def open(self, url: str, seconds: float = 60) -> None:
        """Load `url` and wait until it and its equations are there."""
        self.errors.clear()
        self._loaded = False
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'", seconds, loaded=True)
        self.wait("!window.MathJax || !MathJax.startup || MathJax.startup.promise.then(() => true)", seconds)

    def evaluate(self, expression: str):
        """Value of a JavaScript expression in the page (promises are awaited)."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, f"{expression}: {result['exceptionDetails']}"
        return result["result"].get("value")

    def wait(self, expression: str, seconds: float = 10, loaded: bool = False) -> None:
        """Wait until the expression is true, through a change of documents; AssertionError after `seconds`."""
        end = time.monotonic() + seconds
        while not (self._holds(expression) and (self._loaded or not loaded)):
            assert time.monotonic() < end, f"not within {seconds} s: {expression}"
            time.sleep(0.05)

    def _holds(self, expression: str) -> bool:
        try:
            return bool(self.evaluate(expression))
        except DocumentGone:
            return False

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def open_browser():
    """A `Page` of a fresh browser with an empty profile."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [chromium(), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port_file, end = Path(profile) / "DevToolsActivePort", time.monotonic() + 30
            while not (port_file.is_file() and len(port_file.read_text().split()) == 2):
                assert process.poll() is None, f"Chromium ended with {process.returncode}"
                assert time.monotonic() < end, "Chromium did not start within 30 s"
                time.sleep(0.05)
            port = port_file.read_text().split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
                target = next(tab for tab in json.load(answer) if tab["type"] == "page")
            socket = websocket.create_connection(target["webSocketDebuggerUrl"], timeout=60)
            try:
                yield Page(socket)
            finally:
                socket.close()
        finally:
            process.terminate()
            process.wait(timeout=20)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def serve(folder: Path):
    """The address at which `folder` is served on this machine."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()

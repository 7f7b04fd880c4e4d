"""A local HTTP server of byte ranges that misbehaves on order and can pose as the hub, and a small flat file of rows cut into shards."""

import json
import os
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

SHARD_BYTES = 1001  # odd: cuts run through rows, and through tokens


def make_rows(n_rows: int, row_tokens: int, vocab_size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, vocab_size, (n_rows, row_tokens)).astype("<u2")


def write_shards(folder: Path, rows: np.ndarray, shard_bytes: int = SHARD_BYTES) -> Path:
    """`rows` as document-00000-of-NNNNN.bin and so on, the last one shorter."""
    folder.mkdir(parents=True, exist_ok=True)
    content = rows.tobytes()
    pieces = [content[i : i + shard_bytes] for i in range(0, len(content), shard_bytes)]
    for i, piece in enumerate(pieces):
        (folder / f"document-{i:05}-of-{len(pieces) - 1:05}.bin").write_bytes(piece)
    return folder


class RangeServer(ThreadingHTTPServer):
    """Serves `folder`; `fault(key, n)` names what to do wrong with the n-th request (from 1) for `key` = (method, path, range)."""

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.listing = True
        self.digests: dict[
            str, dict[str, str]
        ] = {}  # revision of a model -> its files and their SHA-256, as the hub states them
        self.fault: Callable[[tuple, int], str | None] = lambda key, n: None
        self.requests: Counter = Counter()
        self.endless_replies_read = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def ranges_served(self) -> int:
        return sum(n for (method, _, span), n in self.requests.items() if method == "GET" and span)

    def handle_error(self, request, client_address):
        pass  # resets are part of the tests


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body: bool):
        key = (self.command, self.path, self.headers.get("Range"))
        with self.server.lock:
            self.server.requests[key] += 1
            n = self.server.requests[key]
        fault = self.server.fault(key, n)
        if fault in ("429", "503"):
            return self._send(int(fault), {"Retry-After": "0"}, b"later", body)
        if self.path == "/":
            names = [f'<a href="{path.name}">x</a>' for path in sorted(self.server.folder.iterdir())]
            page = "".join(names).encode() if self.server.listing else b""
            return self._send(200, {"Content-Type": "text/html"}, page, body)
        if (
            revision := re.fullmatch(r"/api/models/.*/revision/(\w+)\?blobs=.*", self.path)
        ) and not self.server.digests.get(revision[1]):
            return self._send(404, {"X-Error-Code": "RevisionNotFound"}, b"", body)
        if self.path.startswith("/api/"):
            return self._send(200, {"Content-Type": "application/json"}, self._hub_api(), body)
        if "/resolve/main/" in self.path:  # the hub sends to another address for the content
            return self._send(302, {"Location": "/" + self.path.rsplit("/", 1)[-1]}, b"", body)
        path = self.server.folder / self.path.lstrip("/")
        if not path.is_file():
            return self._send(404, {}, b"", body)
        content = path.read_bytes()
        if key[2] is None or fault == "whole":
            return self._send(200, {"ETag": '"1"'}, content, body)
        start, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", key[2]).groups())
        part = content[start : last + 1]
        stated = {"Content-Range": f"bytes {start}-{last}/{len(content)}"}
        if fault == "other range":
            part = content[: len(part)]
            stated = {"Content-Range": f"bytes 0-{len(part) - 1}/{len(content)}"}
        elif fault == "other size":
            stated = {"Content-Range": f"bytes {start}-{last}/{len(content) + 5}"}
        elif fault == "short":
            part = part[:-1]
        elif fault == "long":
            part += b"\0\0"
        elif fault == "no tokens":
            part = b"\xff" * len(part)
        elif fault == "zeros":
            part = b"\0" * len(part)
        if fault not in ("reset", "drip", "endless"):
            return self._send(206, stated, part, body)
        self.send_response(206)
        for name, value in stated.items():
            self.send_header(name, value)
        self.send_header(*(("Connection", "close") if fault == "endless" else ("Content-Length", str(len(part)))))
        self.end_headers()
        if fault == "reset":
            self.wfile.write(part[: len(part) // 2])
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())  # a reset at once, not a polite end
            self.close_connection = True
        elif fault == "endless":
            for _ in range(2000):
                self.wfile.write(part * 1000)
            self.server.endless_replies_read += 1  # to the end of their 260 MB
            self.close_connection = True
        else:
            for byte in part[:30]:
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)
            self.close_connection = True

    def _hub_api(self) -> bytes:
        """What the hub's interface says of a repository that holds the folder's files, or of the files of a model."""
        if revision := re.fullmatch(r"/api/models/.*/revision/(\w+)\?blobs=.*", self.path):
            files = [
                {"rfilename": name, "size": 9, "blobId": "0", "lfs": {"sha256": digest, "size": 9, "pointerSize": 1}}
                for name, digest in self.server.digests[revision[1]].items()
            ]
            return json.dumps({"id": "some/model", "sha": "0" * 40, "siblings": files}).encode()
        if "/tree/" not in self.path:
            return json.dumps({"id": "EleutherAI/pile", "sha": "0" * 40, "siblings": [], "private": False}).encode()
        files = sorted(self.server.folder.iterdir())
        facts = [
            {"type": "file", "oid": f"{i:040}", "size": path.stat().st_size, "path": path.name}
            for i, path in enumerate(files)
        ]
        return json.dumps(facts).encode()

    def _send(self, status: int, headers: dict, content: bytes, body: bool):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)


@contextmanager
def serving(folder: Path):
    """A running `RangeServer`, stopped at the end."""
    with RangeServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

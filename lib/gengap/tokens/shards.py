"""One flat file cut into shards, read by byte range from a folder, an HTTP server or the hub.

A faulty reply (429, 503, a reset, a short, long or late body) is asked for again (`gengap.tokens.patience`). Nothing leaves
this module that was not exactly the bytes asked for.
"""

import hashlib
import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter

import aiohttp
import fsspec
from fsspec.asyn import sync
from fsspec.implementations.http import HTTPFileSystem

from gengap.errors import UserError
from gengap.tokens.patience import BadReply, NoRanges, Patience, Result, patiently

SHARD_NAME = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<last>\d{5})\.bin")
N_CONNECTIONS = 16


@dataclass(frozen=True)
class Shard:
    path: str
    size: int  # bytes
    stamp: str  # what the source says of its content: blob id, ETag or time; "" if nothing

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


class FlatFile:
    """`size` bytes in `shards`; `read` gives any range of them. Use `open_shards`."""

    def __init__(self, url: str, fs, shards: list[Shard], patience: Patience):
        self.url, self.fs, self.shards, self.patience = url, fs, tuple(shards), patience
        self.size = sum(shard.size for shard in shards)
        self.abandoned = threading.Event()  # set it, and no read waits for another attempt
        self._http = fs if isinstance(fs, HTTPFileSystem) else _http_filesystem(patience)

    @property
    def complete(self) -> bool:
        """All shards that the names promise are there, not only the first few."""
        return len(self.shards) == len(_all_names(self.shards[0].path))

    @property
    def layout_sha256(self) -> str:
        """Names and sizes: the same for every copy of one file."""
        return _sha256([[shard.name, shard.size] for shard in self.shards])

    @property
    def source_sha256(self) -> str:
        """Where it lies and what the source says of it: another one if the source changes."""
        return _sha256([self.url, [[shard.name, shard.size, shard.stamp] for shard in self.shards]])

    def read(self, start: int, stop: int, parse: Callable[[bytes], Result] = bytes) -> Result:
        """What `parse` makes of bytes `start` to `stop`; if it raises `BadReply`, they are asked for again."""
        what = f"bytes {start} to {stop} of {self.url}"

        def attempt() -> Result:
            pieces = [partial(self._read_piece, *piece) for piece in self._pieces(start, stop)]
            return parse(b"".join(patiently(piece, self.patience, what, self.abandoned) for piece in pieces))

        return patiently(attempt, self.patience, what, self.abandoned)

    def _pieces(self, start: int, stop: int):
        """(shard, start, stop) in the shard's own bytes."""
        first = 0
        for shard in self.shards:
            low, high = max(start, first), min(stop, first + shard.size)
            if low < high:
                yield shard, low - first, high - first
            first += shard.size

    def _read_piece(self, shard: Shard, start: int, stop: int) -> bytes:
        protocol = self.fs.protocol if isinstance(self.fs.protocol, str) else self.fs.protocol[0]
        if protocol in ("http", "https", "hf"):
            address, headers = shard.path, {}
            if protocol == "hf":
                from huggingface_hub.utils import build_hf_headers

                address, headers = self.fs.url(shard.path), build_hf_headers()
            asked = address, headers, start, stop, shard.size
            return sync(self._http.loop, _get_range, self._http, *asked, timeout=None)
        with self.fs.open(shard.path, "rb") as file:
            file.seek(start)
            content = file.read(stop - start)
        if len(content) != stop - start:
            raise BadReply(f"{shard.name} is shorter than it was")
        return content


async def _get_range(fs, url: str, headers: dict, start: int, stop: int, size: int) -> bytes:
    """One GET of a byte range, accepted only with the status, the range, the total and the length asked for."""
    session = await fs.set_session()
    headers = {**headers, "Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
    async with session.get(fs.encode_url(url), headers=headers) as reply:
        reply.raise_for_status()
        if reply.status != 206:  # the body would be the whole file: leave it unread
            raise NoRanges(url)
        stated = reply.headers.get("Content-Range", "")
        if stated.replace(" ", "") not in (f"bytes{start}-{stop - 1}/{size}", f"bytes{start}-{stop - 1}/*"):
            raise BadReply(f"the reply is {stated or 'an unnamed range'}, not bytes {start}-{stop - 1}/{size}")
        if (length := reply.content_length) not in (None, stop - start):
            raise BadReply(f"the reply announces {length} bytes, not {stop - start}")
        content = bytearray()
        async for chunk in reply.content.iter_any():
            content += chunk
            if len(content) > stop - start:
                break
    if len(content) != stop - start:
        raise BadReply(f"the reply has {len(content)} bytes, not {stop - start}")
    return bytes(content)


def open_shards(url: str, patience: Patience | None = None) -> FlatFile:
    """The flat file below `url`: a folder, `http(s)://`, `hf://datasets/...`, any address that fsspec knows.

    `url` is a folder whose listing names the shards `*-00000-of-00020.bin`, or the address of the first shard where a server
    gives no listing. A leading part of the shards is enough. Raises `UserError` if there are none, if one is missing between
    others or not of the first one's size (all but the last are cut at the same byte), and for a source that does not answer.
    """
    patience = patience or Patience()
    if url.startswith(("http://", "https://")):
        fs, path = _http_filesystem(patience), url
    else:
        fs, path = fsspec.core.url_to_fs(url, skip_instance_cache=True)
    if "file" in fs.protocol:
        patience = replace(patience, attempts=1)
    path = path.rstrip("/")
    if SHARD_NAME.fullmatch(path):
        listed = [{"name": name} for name in _all_names(path)]
    else:
        listed = patiently(lambda: _list(fs, path), patience, f"the list of shards at {url}")
    with ThreadPoolExecutor(N_CONNECTIONS) as pool:
        shards = list(pool.map(lambda entry: _ask(fs, entry, patience), listed))
    _check_layout(url, shards)
    return FlatFile(url, fs, shards, patience)


def _all_names(path: str) -> list[str]:
    """The names of all shards, from one of them."""
    match = SHARD_NAME.fullmatch(path)
    return [f"{match['stem']}-{i:05}-of-{match['last']}.bin" for i in range(int(match["last"]) + 1)]


def _list(fs, path: str) -> list[dict]:
    """Entries of the shards, by number; empty if the folder or page names none."""
    listed = fs.ls(path + "/" if isinstance(fs, HTTPFileSystem) else path, detail=True)
    return sorted((entry for entry in listed if SHARD_NAME.fullmatch(entry["name"])), key=itemgetter("name"))


def _ask(fs, entry: dict, patience: Patience) -> Shard:
    """Size and stamp of one shard, asked of the source if the listing did not say."""
    name = entry["name"]

    def ask() -> Shard:
        try:
            facts = entry if entry.get("size") is not None else fs.info(name)
        except FileNotFoundError as error:  # what fsspec makes of any failure: let its cause decide
            raise error.__cause__ or error from error
        if facts.get("size") is None:
            raise BadReply(f"no size is stated for {name}")
        stamps = (facts.get(key) for key in ("blob_id", "ETag", "Last-Modified", "mtime"))
        return Shard(name, int(facts["size"]), str(next(filter(None, stamps), "")))

    return patiently(ask, patience, f"the size of {name}")


def _check_layout(url: str, shards: list[Shard]) -> None:
    if not shards:
        raise UserError(
            f"{url} lists no shards named like document-00000-of-00020.bin: give the folder that holds them, or the address "
            "of the first shard"
        )
    names = _all_names(shards[0].path)
    last = len(names) - 1
    for number, shard in enumerate(shards):
        if number > last or shard.path != names[number]:
            raise UserError(f"{url}: shard {number:05} of {last:05} is missing or there twice ({shard.name} is next)")
        if shard.size != shards[0].size and (number < last or shard.size > shards[0].size):
            raise UserError(
                f"{shard.name} has {shard.size:,} bytes, but {shards[0].name} has {shards[0].size:,}: it is truncated or of "
                "another file; fetch it again"
            )


def _http_filesystem(patience: Patience) -> HTTPFileSystem:
    return HTTPFileSystem(client_kwargs={"timeout": aiohttp.ClientTimeout(patience.reply_s)}, skip_instance_cache=True)


def _sha256(facts: list) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

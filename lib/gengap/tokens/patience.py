"""How long a faulty source is put up with: what may pass is asked for again with growing pauses, the rest is one `UserError`."""

import asyncio
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
import httpx
from tenacity import Retrying, retry_if_exception, sleep_using_event, stop_after_attempt, stop_when_event_set

from gengap.errors import UserError

RETRIED_STATUS = {408, 425, 429}  # besides everything from 500
NETWORK_ERRORS = (OSError, EOFError, aiohttp.ClientError, httpx.HTTPError)

Result = TypeVar("Result")


class BadReply(OSError):
    """A reply that is not what was asked for; asked for again like any other fault of a network."""


class NoRanges(Exception):
    """The server sends whole files: asking again is of no use."""


@dataclass(frozen=True)
class Patience:
    """How long a faulty server is put up with: about three minutes of pauses by default."""

    attempts: int = 10
    first_pause_s: float = 0.5  # doubled after each failure
    longest_pause_s: float = 60.0
    reply_s: float = 60.0  # for one whole reply of at most about a megabyte
    address: str = "the address of the rows"  # what to check when the source refuses: where the user has set it

    def pause_s(self, attempt: int, error: Exception) -> float:
        """The server's own Retry-After if it sent one, else doubling pauses; jittered, so that threads do not return together."""
        headers = getattr(error, "headers", None) or getattr(getattr(error, "response", None), "headers", {})
        asked = headers.get("Retry-After", "")
        pause = float(asked) if asked.isdecimal() else self.first_pause_s * 2**attempt
        return min(pause, self.longest_pause_s) * random.uniform(1.0, 1.25)


def patiently(
    action: Callable[[], Result], patience: Patience, what: str, abandoned: threading.Event | None = None
) -> Result:
    """The result of `action`, repeated after faults that may pass; `UserError` for the others and in the end.

    Once `abandoned` is set nobody waits for the result any more: a pause ends, and there is no further attempt.
    """
    abandoned = abandoned or threading.Event()

    def attempt() -> Result:
        if abandoned.is_set():
            raise BadReply("nobody waits for it any more")
        return action()

    retrying = Retrying(
        retry=retry_if_exception(_may_pass),
        stop=stop_after_attempt(patience.attempts) | stop_when_event_set(abandoned),
        wait=lambda state: patience.pause_s(state.attempt_number - 1, state.outcome.exception()),
        sleep=sleep_using_event(abandoned),
        reraise=True,
    )
    try:
        return retrying(attempt)
    except NoRanges as error:
        raise UserError(
            f"{error} ignores range requests and would send whole shards: use a server that honours them "
            "(nginx, caddy), or a local folder"
        ) from error
    except NETWORK_ERRORS as error:
        if not _may_pass(error):
            raise UserError(f"{what}: {_reason(error)}; check {patience.address} (and `gengap doctor`)") from error
        times = f"{retrying.statistics['attempt_number']} times, the last time so: {_reason(error)}"
        raise UserError(f"{what} failed {times}; run again later: what was fetched is kept") from error


def _may_pass(error: BaseException) -> bool:
    """Whether asking again can help."""
    status = _status(error)
    if status is None:
        return isinstance(error, NETWORK_ERRORS) and not isinstance(error, FileNotFoundError | PermissionError)
    return isinstance(error, NETWORK_ERRORS) and (status in RETRIED_STATUS or not 400 <= status < 500)


def _status(error: Exception) -> int | None:
    """The HTTP status behind an error of aiohttp, httpx or the hub; None if it is of another kind."""
    return getattr(error, "status", getattr(getattr(error, "response", None), "status_code", None))


def _reason(error: Exception) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "no whole reply in time"
    if (status := _status(error)) is not None:
        return f"the server says {status} {getattr(error, 'message', '')}".strip()
    return str(error) or type(error).__name__

"""HTTP to the endpoint: what is asked again, for how long, and in which words a failure is told."""

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from urllib.request import getproxies, proxy_bypass

import urllib3
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    InvalidHeader,
    LocationParseError,
    NewConnectionError,
    ProxyError,
    SSLError,
)
from urllib3.exceptions import TimeoutError as NoAnswerInTime

from workers.prelabel.judge.answers import Answer, NoAnswer, read_answer

_MAX_ANSWER = 32 * 2**20  # bytes
_MAX_WAIT = 300.0  # seconds that an endpoint may ask to wait before it counts as closed
_BACKOFF = (1.0, 60.0)  # seconds before the second attempt, at most before a later one

_TOO_LONG = (
    "context length",
    "context_length",
    "context window",
    "prompt is too long",
    "input is too long",
    "too many tokens",
    "max_tokens must be at least 1",
)


class RequestFailed(Exception):
    """There is no answer to this request; to another one there may be."""


class TooLong(RequestFailed):
    """The prompt does not fit into the model's context."""


class EndpointClosed(Exception):
    """No request would be answered: a wrong key, an unknown model, an exhausted account."""


class Cancelled(Exception):
    """The run was told to stop."""


@dataclass(frozen=True)
class _Failure:
    """A failure that may pass by itself."""

    sentence: str
    wait: float | None = None  # what the endpoint asked for
    may_be_billed: bool = False  # it was sent whole, and nobody knows what became of it


class Client:
    """Sends requests; safe to use from many threads.

    `wait(seconds)` sleeps and returns True if the run was told to stop meanwhile. `on_lost()` is told of every attempt
    that may have been billed without an answer.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        timeout_s: float,
        max_attempts: int,
        n_connections: int,
        wait: Callable[[float], bool],
    ) -> None:
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._max_attempts = max_attempts
        self._wait = wait
        self._pool = _pool(self._url, n_connections)

    def ask(self, body: dict[str, JsonValue], on_lost: Callable[[], None]) -> Answer:
        """The answer; RequestFailed, EndpointClosed or Cancelled with a sentence where there is none."""
        attempt = 1
        while True:
            outcome = self._attempt(body)
            if isinstance(outcome, Answer):
                return outcome
            if outcome.may_be_billed:
                on_lost()
            if attempt == self._max_attempts:
                raise RequestFailed(f"{outcome.sentence} Asked {attempt} times.")
            if self._wait(_pause(attempt, outcome.wait)):
                raise Cancelled
            attempt += 1

    def _attempt(self, body: dict[str, JsonValue]) -> Answer | _Failure:
        deadline = time.monotonic() + self._timeout_s
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "stepmark"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        try:
            response = self._pool.request(
                "POST",
                self._url,
                body=json.dumps(body).encode(),
                headers=headers,
                timeout=urllib3.Timeout(connect=min(30.0, self._timeout_s), read=self._timeout_s),
                retries=False,
                preload_content=False,
            )
            try:
                content = _read(response, deadline)
            finally:
                response.close()
        except (ConnectTimeoutError, NewConnectionError, ProxyError, SSLError) as error:
            return _Failure(f"The endpoint cannot be reached ({type(error).__name__}).")
        except NoAnswerInTime:
            return _Failure(f"No answer within {self._timeout_s:g} seconds.", may_be_billed=True)
        except (HTTPError, HTTPException, OSError) as error:
            return _Failure(f"The connection broke off ({type(error).__name__}).", may_be_billed=True)
        if response.status == 200:
            try:
                return read_answer(content)
            except NoAnswer as error:
                raise RequestFailed(str(error)) from None
        return self._refused(response, content)

    def _refused(self, response: urllib3.BaseHTTPResponse, content: bytes) -> _Failure:
        """What may pass by itself; raises for everything else."""
        status = response.status
        error = _error(content)
        said = f"The endpoint answered {status}{self._quote(error)}"
        too_long = any(words in f"{error.code} {error.message}".lower() for words in _TOO_LONG)
        if status == 413 or (status in (400, 422) and too_long):
            raise TooLong(said)
        if status in (401, 402, 403, 404) or error.code == "insufficient_quota":
            advice = {401: "Check the API key.", 404: "Check the address and the model's name."}.get(status, "")
            raise EndpointClosed(f"{said} {advice}".strip())
        if status in (408, 429) or status >= 500:
            wait = _retry_after(response)
            if wait is not None and wait > _MAX_WAIT:
                raise EndpointClosed(f"{said} It asks to wait {wait:.0f} seconds; start the run again later.")
            return _Failure(said, wait)
        raise RequestFailed(said)

    def _quote(self, error: "_Error") -> str:
        """The endpoint's own words, short and without the key, which some endpoints repeat."""
        words = " ".join((error.message or "").split())
        if self._api_key:
            words = words.replace(self._api_key, "…")
        words = "".join(char for char in words if char.isprintable())
        return f': "{words[:300]}"' if words else "."


class _Error(BaseModel):
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    message: str | None = None
    code: str | None = None


class _ErrorBody(_Error):
    error: _Error | str | None = None


def _error(content: bytes) -> _Error:
    """The error in the body, at the top or under "error"; an empty one if there is none to read."""
    try:
        body = _ErrorBody.model_validate_json(content)
    except ValidationError:
        return _Error()
    if isinstance(body.error, str):
        return _Error(message=body.error)
    return body.error or body


def _read(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    """The whole body. The deadline is for all of it: a server that sends a byte now and then is late as well."""
    pieces: list[bytes] = []
    size = 0
    while piece := response.read1(2**16):
        pieces.append(piece)
        size += len(piece)
        if size > _MAX_ANSWER:
            raise RequestFailed(f"The endpoint sent more than {_MAX_ANSWER // 2**20} MB for one answer.")
        if time.monotonic() > deadline:
            raise NoAnswerInTime
    return b"".join(pieces)


def _retry_after(response: urllib3.BaseHTTPResponse) -> float | None:
    value = response.headers.get("Retry-After")
    try:
        return urllib3.Retry().parse_retry_after(value) if value else None
    except InvalidHeader:
        return None


def _pause(attempt: int, asked: float | None) -> float:
    """Exponential, with jitter so that many threads do not come back together; never shorter than asked."""
    first, most = _BACKOFF
    backoff = min(most, first * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)
    return max(asked + random.uniform(0.0, 0.1 * asked), 0.1) if asked is not None else backoff


def _pool(url: str, n_connections: int) -> urllib3.PoolManager:
    """Through the proxy of the environment, if there is one."""
    try:
        parsed = urllib3.util.parse_url(url)
    except LocationParseError:
        raise EndpointClosed("The address of the endpoint is no web address.") from None
    proxy = getproxies().get(parsed.scheme or "")
    if proxy and not proxy_bypass(parsed.host or ""):
        return urllib3.ProxyManager(proxy, maxsize=n_connections, block=True)
    return urllib3.PoolManager(maxsize=n_connections, block=True)

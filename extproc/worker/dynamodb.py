"""GetItem and BatchWriteItem of one DynamoDB table, over aiohttp with our own signature.

boto3 would take ten times the CPU, in threads, and would repeat a throttled call for 26 seconds. Here a call has
`ANSWER_SECONDS`, and one more try after 25 to 75 ms where it was throttled, or nothing sensible came back. Reads are
eventually consistent: half the price, and usually less than a second behind.

Invariant: what `get` returns is DynamoDB's own response to this very key (its content type, its checksum and the item's
key are compared); everything else is a `TableLookupError`. An item without a text is no failure of the table, but a
`ConfigError`. `put` writes in one try, and returns what was not written.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.LowLevelAPI.html
Decision: docs/decisions.md, D198.
"""

import asyncio
import os
import random
import time
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, TypeVar

import aiohttp
import msgspec
import yarl

from extproc.bedrock.credentials import BearerToken, Credentials
from extproc.bedrock.endpoints import Endpoint
from extproc.bedrock.sigv4 import Headers, Signer
from extproc.config import ConfigError
from extproc.config.items import KEY, MAX_BYTES, VALUE
from extproc.proxy import proxy_for
from extproc.worker.bounded_http import BoundedConnector
from extproc.worker.table_lookups import ANSWER_SECONDS, SLOTS, TableLookupError
from extproc.worker.trust import bedrock_trust

Kind = TypeVar("Kind")

CONNECT_SECONDS = 1.0
"""Timeout of a connection, which is then kept: TCP, TLS and a proxy take several ways there and back."""
TRY_SECONDS = 1.4
"""Timeout of a whole try: two of them, and the pause, are within `LOOKUP_SECONDS`."""
IDLE_SECONDS = 50.0

_TYPE = "application/x-amz-json-1.0"
_GET = (("content-type", _TYPE), ("x-amz-target", "DynamoDB_20120810.GetItem"))
_WRITE = (("content-type", _TYPE), ("x-amz-target", "DynamoDB_20120810.BatchWriteItem"))
_AUTOMATIC = ("accept", "accept-encoding", "content-type", "user-agent")

THROTTLED = frozenset({"ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"})
"""Errors with status 400 after which a call may be repeated."""


class _Text(msgspec.Struct):
    S: str


class _Item(msgspec.Struct):
    pk: _Text
    json: msgspec.Raw = msgspec.Raw(b"null")
    """Whatever an operator has written."""


class _Response(msgspec.Struct):
    Item: _Item | None = None


class _PutRequest(msgspec.Struct):
    Item: dict[str, _Text]


class _Write(msgspec.Struct):
    PutRequest: _PutRequest


class _Written(msgspec.Struct):
    UnprocessedItems: dict[str, list[_Write]]


class _Failure(msgspec.Struct):
    type: str = msgspec.field(name="__type", default="")
    message: str = ""
    Message: str = ""


class _TransientError(Exception):
    """A failure after which the call is repeated once."""


def jitter() -> float:
    """Return the seconds to wait before the second try."""
    return random.uniform(0.025, 0.075)


class DynamoDb:
    """A table. Use it as an async context manager, inside the loop that uses it; then call `get`."""

    def __init__(
        self,
        table: str,
        region: str,
        endpoint: Endpoint,
        identity: Callable[[], Credentials | BearerToken | None],
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises `ProxyError` where there is a proxy for calls to `endpoint` that cannot be used."""
        self._table = table
        self._endpoint = endpoint
        self._signer = Signer(region, endpoint.authority, "dynamodb")
        self._identity = identity
        self._environ = environ
        self._clock = clock
        self._proxy = proxy_for(str(endpoint), environ)
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        self._url = yarl.URL(f"{endpoint.scheme}://{host}:{endpoint.port}/", encoded=True)
        self._open = AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "DynamoDb":
        """Open it. Raises `TrustError`."""
        tls = bedrock_trust(self._environ) if self._endpoint.scheme == "https" else True
        session = aiohttp.ClientSession(
            connector=BoundedConnector(limit=2 * SLOTS + 1, keepalive_timeout=IDLE_SECONDS, ssl=tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_AUTOMATIC,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=ANSWER_SECONDS),
        )
        self._session = await self._open.enter_async_context(session)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    async def get(self, key: str) -> str | None:
        """Return the text of the item of `key`, None if there is none.

        Raises `TableLookupError`, or `ConfigError` for an item that has no text.
        """
        body = msgspec.json.encode({"TableName": self._table, "Key": {KEY: {"S": key}}})
        try:
            return _text(key, await self._call(_GET, body))
        except _TransientError:
            await asyncio.sleep(jitter())
        try:
            return _text(key, await self._call(_GET, body))
        except _TransientError as error:
            raise TableLookupError(str(error)) from error

    async def put(self, items: Sequence[Mapping[str, str]]) -> Collection[str]:
        """Write up to 25 items, in place of those with the same keys; return the keys of those that were not written.

        Raises `TableLookupError`; nothing is tried again.
        """
        requests = [{"PutRequest": {"Item": {name: {"S": text} for name, text in item.items()}}} for item in items]
        try:
            response = await self._call(_WRITE, msgspec.json.encode({"RequestItems": {self._table: requests}}))
            return _unprocessed(response)
        except _TransientError as error:
            raise TableLookupError(str(error)) from error

    async def _call(self, operation: Headers, body: bytes) -> bytes:
        """Make a call once, and return DynamoDB's response. Raises `_TransientError` or `TableLookupError`."""
        headers = self._signed(operation, body)
        assert self._session is not None
        try:
            async with (
                asyncio.timeout(TRY_SECONDS),
                self._session.post(
                    self._url, data=body, headers=headers, allow_redirects=False, **self._options()
                ) as response,
            ):
                return _checked(response.status, response.headers, await _read(response))
        except TimeoutError as error:  # aiohttp's are ones too
            raise _TransientError("DynamoDB did not answer in time") from error
        except aiohttp.ClientError as error:
            raise _TransientError(f"DynamoDB could not be reached: {error}") from error

    def _signed(self, operation: Headers, body: bytes) -> dict[str, str]:
        """Return the headers of a call. Raises `TableLookupError` without credentials."""
        identity = self._identity()
        if not isinstance(identity, Credentials):
            reason = "an API key of Bedrock opens no table" if identity else "there are no AWS credentials"
            raise TableLookupError(f"{reason}: set a profile, keys, or run where a role provides them")
        signed = self._signer.sign(identity, "/", body, operation, self._clock())
        return dict((*operation, *signed, ("host", self._endpoint.authority), ("user-agent", "oai-extproc")))

    def _options(self) -> dict[str, Any]:
        return {"proxy": str(self._proxy), "proxy_headers": self._proxy.headers} if self._proxy else {}


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the body. Raises `_TransientError` for one that is longer than any of DynamoDB's."""
    data = bytearray()
    while len(data) <= 4 * MAX_BYTES and (piece := await response.content.readany()):
        data += piece
    if len(data) > 4 * MAX_BYTES:  # JSON may have six bytes for one, but nobody writes names so
        response.close()
        raise _TransientError("the response is longer than any of DynamoDB's")
    return bytes(data)


def _checked(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return the body of a response that is DynamoDB's own. Raises `_TransientError` or `TableLookupError`."""
    checksum = headers.get("x-amz-crc32")
    if checksum is not None and checksum != str(zlib.crc32(body)):
        raise _TransientError("the response differs from its checksum")
    if status >= 500:
        raise _TransientError(f"DynamoDB failed with status {status}")
    if not headers.get("content-type", "").startswith("application/x-amz-json-"):
        raise _TransientError(f"something else than DynamoDB answered, with status {status}")
    if status != 200:
        raise _error(status, body)
    return body


def _text(key: str, body: bytes) -> str | None:
    """Return the text of the item in a response, None without one. Raises `_TransientError` or `ConfigError`."""
    item = _decode(body, _Response).Item
    if item is None:
        return None
    if key != item.pk.S:
        raise _TransientError("the response has another key's item")
    try:
        return msgspec.json.decode(item.json, type=_Text).S
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ConfigError(f"{key}: the attribute `{VALUE}` is no string; write the entry as JSON text") from None


def _unprocessed(body: bytes) -> list[str]:
    """Return the keys of the items in a response, which were not written. Raises `_TransientError`."""
    tables = _decode(body, _Written).UnprocessedItems.values()
    return [each.PutRequest.Item[KEY].S for table in tables for each in table if KEY in each.PutRequest.Item]


def _decode(body: bytes, kind: type[Kind]) -> Kind:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _TransientError(f"the response cannot be read: {error}") from error


def _error(status: int, body: bytes) -> Exception:
    """Return the exception for an error of DynamoDB's."""
    try:
        failure = msgspec.json.decode(body, type=_Failure)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        failure = _Failure()
    name = failure.type.rpartition("#")[2]
    text = f"DynamoDB answered with {name or status}: {failure.message or failure.Message}"
    return _TransientError(text) if name in THROTTLED else TableLookupError(text)

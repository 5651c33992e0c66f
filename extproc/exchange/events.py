"""The events of one HTTP exchange, in the order of the wire: small, frozen, not to be subclassed.

An exchange receives them from its transport, and returns directives (`extproc.exchange.directives`). Header names are
lower-case, pseudo-headers (`:path`, `:status`) are among them, and the values of a repeated header are joined with a
comma.
"""

from collections.abc import Mapping

from msgspec import Struct

from extproc.exchange.jobs import JobResult
from extproc.tenancy.jwt_tokens import JwtResult


class RequestHeaders(Struct, frozen=True):
    """The client's request line and headers; `end_of_stream` when no body follows.

    `jwt` is Envoy's result for a signed token; None where it has verified none.
    """

    headers: Mapping[str, str]
    end_of_stream: bool = False
    jwt: JwtResult | None = None


class RequestBody(Struct, frozen=True):
    """The client's whole body: Envoy has buffered it. A bytearray is the exchange's alone.

    `trailers` when the client sent trailers after it.
    """

    data: bytes | bytearray
    trailers: bool = False


class ResponseHeaders(Struct, frozen=True):
    """A response's status and headers: Bedrock's, or Envoy's own (`local`: 413, no upstream, a timeout).

    `details` is Envoy's reason (`%RESPONSE_CODE_DETAILS%`), empty if it sends none.
    """

    headers: Mapping[str, str]
    end_of_stream: bool = False
    local: bool = False
    details: str = ""


class ResponseBody(Struct, frozen=True):
    """A piece of a response's body, cut anywhere."""

    data: bytes
    end_of_stream: bool = False


class ResponseTrailers(Struct, frozen=True):
    """The end of a response by trailers; nothing follows."""


class Resumed(Struct, frozen=True):
    """The result of the job of a `Wait` directive."""

    result: JobResult


class Idle(Struct, frozen=True):
    """An idle period of `seconds`, counted from the last event that brought the exchange on."""

    seconds: float


Event = RequestHeaders | RequestBody | ResponseHeaders | ResponseBody | ResponseTrailers | Resumed | Idle

"""What happens to one HTTP exchange, as its transport saw it. Small, frozen, named for the wire. Don't subclass.

An exchange is told these, in the order in which they happened, and answers with directives
(`extproc.exchange.directives`). Header names are lower-case, pseudo-headers (`:path`, `:status`) are among
them, and the values of a repeated header are joined with a comma.
"""

from collections.abc import Mapping

from msgspec import Struct

from extproc.exchange.jobs import JobResult


class RequestHeaders(Struct, frozen=True):
    """The client's request line and headers; `end_of_stream` when no body follows."""

    headers: Mapping[str, str]
    end_of_stream: bool = False


class RequestBody(Struct, frozen=True):
    """The client's whole body: Envoy has buffered it. A bytearray is the exchange's alone.

    `trailers` when the client sent trailers after it.
    """

    data: bytes | bytearray
    trailers: bool = False


class ResponseHeaders(Struct, frozen=True):
    """An answer's status and headers: Bedrock's, or Envoy's own (`local`: 413, no upstream, a timeout).

    `details` is Envoy's word for why (`%RESPONSE_CODE_DETAILS%`), empty where it said nothing.
    """

    headers: Mapping[str, str]
    end_of_stream: bool = False
    local: bool = False
    details: str = ""


class ResponseBody(Struct, frozen=True):
    """A piece of an answer's body, cut anywhere."""

    data: bytes
    end_of_stream: bool = False


class ResponseTrailers(Struct, frozen=True):
    """An answer ended with trailers; nothing follows."""


class Resumed(Struct, frozen=True):
    """The result of the job of a `Wait` directive."""

    result: JobResult


class Idle(Struct, frozen=True):
    """Nothing has arrived for `seconds`, counted from the last event that was not an `Idle`."""

    seconds: float


Event = RequestHeaders | RequestBody | ResponseHeaders | ResponseBody | ResponseTrailers | Resumed | Idle

"""The directives of an exchange: small and frozen. Only `transport/` knows how they are encoded for Envoy.

The directives that may follow each event (the exchange guarantees it, the transport may rely on it):

| after                | any one of                                                                        |
|----------------------|-----------------------------------------------------------------------------------|
| `RequestHeaders`     | `Continue` (send me the body), `Reply`, `Wait`                                    |
| `RequestBody`        | `Forward`, `Reply`, `Wait`                                                        |
| `Resumed`            | `Forward`, `Reply`, `Wait`                                                        |
| `Resumed` before the body | `Continue`, `Reply`, `Wait`                                                  |
| `ResponseHeaders`    | nothing (withheld), `Continue` (untouched), `Reply`, `Head`                       |
| after those           | nothing; `Head` once and then any number of `Body`; `Reply` if there was no `Head` |
| the end of those      | the same, or `Wait` if there was no `Head`                                        |
| `Idle`             | the same; `Body` only if a `ResponseBody` came before                             |
| `Idle` after `Continue` or `Forward` | nothing, `Reply`                                                |

`Reply` and a `Body` with `end_of_stream` are the last: nothing follows them. `Abort` may follow anything.
"""

from msgspec import Struct

from extproc.bedrock.sigv4 import Headers
from extproc.exchange.jobs import Job
from extproc.payload import Payload
from extproc.telemetry.token_usage import EnvoyTokenUsage

Metadata = dict[str, str | int | bool]
"""Dynamic metadata for Envoy, in the namespace `oai`, which access logs and limits read. Read-only; compiled code
iterates over a dict at a third of what a Mapping costs."""


class Continue(Struct, frozen=True):
    """Let these headers pass, without those that `remove` names."""

    remove: tuple[str, ...] = ()


class Forward(Struct, frozen=True):
    """Send this, and only this, to Bedrock. `Continue` has already removed the client's headers."""

    path: str
    authority: str
    headers: Headers
    body: Payload
    metadata: Metadata | None = None
    mark_by_header: bool = False
    """Whether a header marks the request, too, and Envoy is to choose its route again."""
    region: str = ""
    """The region that it is signed for, where that is not the gateway's own: the mark has its name."""


class Reply(Struct, frozen=True):
    """The whole response to the client, whether or not there is one from upstream.

    `details` is one word for Envoy's access log. `remove` names the headers of an upstream response that this one
    replaces.
    """

    status: int
    headers: Headers
    body: Payload
    details: str
    remove: tuple[str, ...] = ()
    metadata: Metadata | None = None
    usage: EnvoyTokenUsage | None = None


class Head(Struct, frozen=True):
    """The status and headers of a response whose body follows in `Body` directives."""

    status: int
    headers: Headers
    remove: tuple[str, ...] = ()
    metadata: Metadata | None = None


class Body(Struct, frozen=True):
    """A piece of the response's body."""

    data: Payload
    end_of_stream: bool = False
    metadata: Metadata | None = None
    usage: EnvoyTokenUsage | None = None


class Wait(Struct, frozen=True):
    """Do this job, for at most `seconds`, and continue the exchange with a `Resumed`."""

    job: Job
    seconds: float


class Abort(Struct, frozen=True):
    """End the exchange at once and in error: nothing more is sent, in either direction."""

    reason: str


Directive = Continue | Forward | Reply | Head | Body | Wait | Abort

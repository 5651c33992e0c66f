"""The state machine of one gRPC stream: Envoy's messages -> events, directives -> Envoy's messages.

There is one state machine per stream, because Envoy opens one stream per HTTP exchange and its two halves
never run at once: the request half ends when the response half begins. Two things move it: a message from
Envoy, and a directive from the exchange. It does no I/O and reads no clock.

| state                 | Envoy's message             | event              | next                       |
|-----------------------|-----------------------------|--------------------|----------------------------|
| START                 | request_headers             | `RequestHeaders`   | ROUTING                    |
| BODY_DUE              | request_body or _trailers   | `RequestBody`      | PREPARING                  |
| START to FORWARDED    | response_headers            | `ResponseHeaders`  | WITHHELD                   |
| WITHHELD, RESPONDING  | response_body               | `ResponseBody`     | the same                   |
| WITHHELD, RESPONDING  | response_trailers           | `ResponseTrailers` | the same                   |
| RELAYING              | response_body or _trailers  | none, sent back    | the same; OVER at its end  |
| OVER                  | request_* but _headers, response_* | none        | OVER: it was on its way    |

| state                 | directive   | ProcessingResponse                    | next                       |
|-----------------------|-------------|---------------------------------------|----------------------------|
| ROUTING               | `Continue`  | request_headers, without some         | BODY_DUE                   |
| PREPARING             | `Forward`   | request_body: path, headers and body  | FORWARDED                  |
| ROUTING to FORWARDED  | `Reply`     | immediate_response                    | OVER                       |
| WITHHELD              | `Continue`  | response_headers, untouched           | RELAYING; OVER if bodiless |
| WITHHELD              | `Head`      | response_headers                      | RESPONDING; OVER if bodiless |
| WITHHELD              | `Reply`     | response_headers, one streamed body   | OVER                       |
| WITHHELD, no body yet | `Reply`     | immediate_response                    | OVER                       |
| WITHHELD and bodiless | `Reply`     | response_headers, CONTINUE_AND_REPLACE | OVER                      |
| RESPONDING            | `Body`      | streamed body, one for several in a row | the same; OVER at its end |

Everything else is a `WireError`, and the transport ends the stream in error: Envoy then fails the exchange.
A guess instead could pass a client's key to AWS, or leave a client waiting for ever.

The awkward cases. Envoy's local replies (413, no upstream, a timeout) come as response_headers in whatever state
the request half is, also while a job runs. The response of a filter in front of ours opens a stream that begins
with response_headers. "Bodiless" is a response that its headers ended: Envoy sends no body, so none can be
streamed. "No body yet" is a response of which no response_body came so far: Envoy 1.40 takes a streamed body only
after it has sent one, and ends the stream otherwise (`spurious_message`), whereas an immediate_response is taken in
every state until the headers are out; also in FORWARDED, where Envoy waits for the upstream. And the response half is
FULL_DUPLEX_STREAMED: headers may be withheld for any time and no timeout of Envoy's runs, so an exchange that
has received the end and returns nothing would hang; `stuck` is then true.
"""

from enum import Enum, auto

from google.protobuf.message import DecodeError

from extproc.exchange.directives import Body, Continue, Directive, Forward, Head, Reply
from extproc.exchange.events import (
    Event,
    RequestBody,
    RequestHeaders,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
)
from extproc.payload import Payload, joined
from extproc.telemetry.token_usage import EnvoyTokenUsage
from extproc.tenancy.jwt_tokens import JwtResult
from extproc.transport import ext_proc_pb2 as pb
from extproc.transport import messages
from extproc.transport.headers_message import HeadersMessage, headers_message, message_of, modes_fault
from extproc.transport.jwt_metadata import jwt_result
from extproc.transport.large import Message, take_body
from extproc.transport.response_piece import response_piece

UPSTREAM = "via_upstream"
"""`response.code_details` of a response from the upstream; any other value is a local reply of Envoy's."""


class SessionState(Enum):
    """The state of a stream; see the tables above."""

    START = auto()
    ROUTING = auto()
    BODY_DUE = auto()
    PREPARING = auto()
    FORWARDED = auto()
    WITHHELD = auto()
    RESPONDING = auto()
    RELAYING = auto()
    OVER = auto()


# Tuples: `in` compares members by identity, where a set needs a hash, which Enum computes in Python.
REQUEST_HALF = (
    SessionState.START,
    SessionState.ROUTING,
    SessionState.BODY_DUE,
    SessionState.PREPARING,
    SessionState.FORWARDED,
)
RESPONSE_DUE = (SessionState.ROUTING, SessionState.PREPARING)
RESPONSE_OPEN = (SessionState.WITHHELD, SessionState.RESPONDING)


class WireError(Exception):
    """Envoy, its configuration and the exchange do not fit together; the stream must end in error."""


class ExtProcSession:
    """A session of one stream: `receive` takes Envoy's messages, `apply` directives; `drain` returns the responses."""

    __slots__ = (
        "_bodiless",
        "_body_received",
        "_last_piece",
        "_metadata",
        "_out",
        "_pieces",
        "_timeout_extended",
        "_upstream_ended",
        "_usage",
        "state",
    )

    def __init__(self) -> None:
        self.state = SessionState.START
        self._bodiless = False
        self._body_received = False
        self._upstream_ended = False
        self._timeout_extended = False
        self._out: list[Payload] = []
        self._pieces: list[Payload] = []
        self._metadata: dict[str, str | int | bool] = {}
        self._usage: EnvoyTokenUsage | None = None
        self._last_piece = False

    @property
    def stuck(self) -> bool:
        """True if Envoy waits for a response and will send nothing more until it has one."""
        return self.state in RESPONSE_DUE or (self.state in RESPONSE_OPEN and self._upstream_ended)

    def receive(self, data: Message) -> Event | None:
        """Decode a `ProcessingRequest`; return its event, None where the exchange need not know of it.

        Raises `WireError` on bytes that are no such message, and on one that is not due in this state. A bytearray must
        not be used any more afterwards.
        """
        body = None
        if isinstance(data, bytearray):
            data, body = take_body(data)
        else:
            start, stop, end_of_stream = response_piece(data)
            if start and self.state is not SessionState.START:  # nearly all that comes
                return self._response_body(data[start:stop], end_of_stream)
            message = headers_message(data)
            if message is not None:
                return self._headers(message)
        request = pb.ProcessingRequest()
        try:
            request.ParseFromString(data)
        except DecodeError as error:
            raise WireError(f"not a ProcessingRequest: {error}") from error
        self._check_modes(modes_fault(request))
        return self._parsed(request.WhichOneof("request"), request, body)

    def _parsed(self, kind: str | None, request: pb.ProcessingRequest, body: Message | None) -> Event | None:
        match kind:
            case "response_body":
                return self._response_body(request.response_body.body, request.response_body.end_of_stream)
            case "request_headers":
                return self._headers(message_of(request, request.request_headers, is_response=False))
            case "request_body":
                body_message = request.request_body
                return self._request_body(body_message.body if body is None else body, body_message.end_of_stream)
            case "response_headers":
                return self._headers(message_of(request, request.response_headers, is_response=True))
            case "response_trailers":
                return self._response_trailers()
            case "request_trailers":
                return self._request_body(b"", end_of_stream=False)
        return None

    def _headers(self, message: HeadersMessage) -> Event | None:
        rest = message.rest
        self._check_modes(rest.fault)
        if message.is_response:
            return self._response_headers(message.headers, message.end_of_stream, rest.details)
        jwt = jwt_result(rest.metadata_context) if rest.metadata_context else None
        return self._request_headers(message.headers, message.end_of_stream, jwt)

    def _check_modes(self, fault: str) -> None:
        """Reject other modes of the filter than ours: responses would be misread. The first message contains them."""
        if fault and self.state is SessionState.START:
            raise WireError(fault)

    def apply(self, directive: Directive) -> None:
        """Queue the message that this directive makes. Raises `WireError` on one that is not due in this state.

        `Wait` and `Abort` are not for Envoy: the caller keeps them.
        """
        match directive:
            case Body():
                self._body(directive)
            case Continue():
                self._continue(directive)
            case Forward():
                self._forward(directive)
            case Head():
                self._head(directive)
            case Reply():
                self._reply(directive)
            case _:
                raise self._misplaced(directive)

    def extend_timeout(self, seconds: float) -> None:
        """Allow the response that is due `seconds` from now (`override_message_timeout`).

        Nothing is sent at the end of Bedrock's response: no timeout of Envoy's runs there.
        It is sent once for each response, and Envoy ignores what exceeds its `max_message_timeout`; 0 is no more time
        than there is. Raises `WireError` where no response is due: nothing is slow there but the upstream.
        """
        if self.state is SessionState.WITHHELD and self._upstream_ended:
            return
        if self.state not in RESPONSE_DUE:
            raise WireError(f"a wait in state {self.state.name}, where Envoy waits for nothing")
        if seconds and not self._timeout_extended:
            self._timeout_extended = True
            self._out.append(messages.more_time(seconds))

    def drain(self) -> list[Payload]:
        """Return the serialised `ProcessingResponse`s that are to be sent, in order; each is returned once."""
        self._close_body()
        out, self._out = self._out, []
        return out

    def mark(self) -> tuple[int, int, bool]:
        """Return a mark for `roll_back`: what is queued since the last `drain`, and if its last piece is the end."""
        return len(self._out), len(self._pieces), self._last_piece

    def roll_back(self, mark: tuple[int, int, bool]) -> None:
        """Remove what was queued since `mark`; the stream is about to end in error."""
        out, pieces, self._last_piece = mark
        del self._out[out:], self._pieces[pieces:]

    def _request_headers(self, headers: dict[str, str], end_of_stream: bool, jwt: JwtResult | None) -> Event | None:
        self._expect(SessionState.START, "request_headers")
        self.state = SessionState.ROUTING
        self._bodiless = end_of_stream
        return RequestHeaders(headers, end_of_stream, jwt)

    def _request_body(self, body: Message, end_of_stream: bool) -> Event | None:
        """Return the whole body. Without `end_of_stream` the client sent trailers after it, or in its place."""
        if self.state is SessionState.OVER:
            return None
        self._expect(SessionState.BODY_DUE, "request_body")
        self.state = SessionState.PREPARING
        self._timeout_extended = False
        return RequestBody(body, not end_of_stream)

    def _response_headers(self, headers: dict[str, str], end_of_stream: bool, details: str) -> Event | None:
        if self.state is SessionState.OVER:
            return None
        if self.state not in REQUEST_HALF:
            raise WireError(f"response_headers in state {self.state.name}")
        self.state = SessionState.WITHHELD
        self._bodiless = self._upstream_ended = end_of_stream
        local = details not in ("", UPSTREAM)
        return ResponseHeaders(headers, end_of_stream, local, details)

    def _response_body(self, data: bytes, end_of_stream: bool) -> Event | None:
        if self.state is SessionState.RELAYING:
            self._out.append(messages.streamed(data, end_of_stream))
            self._over_if(end_of_stream)
        if not self._response_is_open("response_body"):
            return None
        self._upstream_ended = end_of_stream
        self._body_received = True
        return ResponseBody(data, end_of_stream)

    def _response_trailers(self) -> Event | None:
        if self.state is SessionState.RELAYING:
            self._out.append(messages.passed("response_trailers"))
            self.state = SessionState.OVER
        if not self._response_is_open("response_trailers"):
            return None
        self._upstream_ended = True
        return ResponseTrailers()

    def _response_is_open(self, name: str) -> bool:
        """Return whether the exchange still receives the upstream's response."""
        if self.state in (SessionState.RELAYING, SessionState.OVER):
            return False
        if self.state not in RESPONSE_OPEN or self._upstream_ended:
            raise WireError(f"{name} in state {self.state.name}")
        return True

    def _continue(self, directive: Continue) -> None:
        if self.state is SessionState.ROUTING and not self._bodiless:
            self._out.append(messages.stripped(directive.remove))
            self.state = SessionState.BODY_DUE
        elif self.state is SessionState.WITHHELD:
            self._out.append(messages.passed("response_headers"))
            self.state = SessionState.RELAYING
            self._over_if(self._bodiless)
        else:
            raise self._misplaced(directive)

    def _forward(self, directive: Forward) -> None:
        if self.state is not SessionState.PREPARING:
            raise self._misplaced(directive)
        self._out.append(messages.forwarded(directive))
        self.state = SessionState.FORWARDED

    def _head(self, directive: Head) -> None:
        if self.state is not SessionState.WITHHELD:
            raise self._misplaced(directive)
        self._out.append(messages.head(directive))
        self.state = SessionState.RESPONDING
        self._over_if(self._bodiless)

    def _body(self, directive: Body) -> None:
        if self.state is not SessionState.RESPONDING or not self._body_received:
            raise self._misplaced(directive)
        self._pieces.append(directive.data)
        if directive.metadata:
            self._metadata.update(directive.metadata)
        if directive.usage is not None:
            self._usage = directive.usage
        self._last_piece = directive.end_of_stream
        self._over_if(directive.end_of_stream)

    def _reply(self, directive: Reply) -> None:
        if self.state in REQUEST_HALF and self.state is not SessionState.START:
            self._out.append(messages.immediate(directive))
        elif self.state is SessionState.WITHHELD and self._bodiless:
            self._out.append(messages.replaced_whole(directive))
        elif self.state is SessionState.WITHHELD and not self._body_received:
            self._out.append(messages.immediate(directive))
        elif self.state is SessionState.WITHHELD:
            self._out += (messages.replaced_head(directive), messages.streamed(directive.body, end_of_stream=True))
        else:
            raise self._misplaced(directive)
        self.state = SessionState.OVER

    def _close_body(self) -> None:
        """Make one message of the pieces queued since the last."""
        if self._pieces:
            data = self._pieces[0] if len(self._pieces) == 1 else joined(self._pieces)
            self._out.append(messages.streamed(data, self._last_piece, self._metadata, self._usage))
            self._pieces, self._metadata, self._usage = [], {}, None

    def _over_if(self, ended: bool) -> None:
        if ended:
            self.state = SessionState.OVER

    def _expect(self, state: SessionState, name: str) -> None:
        if self.state is not state:
            raise WireError(f"{name} in state {self.state.name}")

    def _misplaced(self, directive: Directive) -> WireError:
        return WireError(f"{type(directive).__name__} in state {self.state.name}")

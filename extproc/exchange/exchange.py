"""One HTTP exchange, from the client's headers to the last byte of its answer.

One state machine, moved by what happens on the wire (`events`), answering with what is to be done (`directives`).
The phases are the same for every endpoint; what differs is the call (`calls`) and the way to answer (`answers`).

| phase     | event                     | next      | directives                                                    |
|-----------|---------------------------|-----------|---------------------------------------------------------------|
| BEGIN     | RequestHeaders            | BODY      | Continue; or Reply: no such route, no valid token, a model list |
| BEGIN     | ResponseHeaders           | DONE      | Continue: another filter's own reply, none of our business    |
| BODY      | RequestBody               | SENT, JOB | Forward, or Wait for side calls; or Reply: a bad request      |
| BODY      | RequestBody               | FETCHING  | Wait, for images that the request only names                  |
| BODY      | RequestBody               | READING   | Wait: it is large, and another process reads it               |
| READING   | Resumed                   | PLANNING, FETCHING | Wait; or Reply: a bad request                        |
| FETCHING  | Resumed                   | SENT, JOB, PLANNING | as for the body                                     |
| PLANNING  | Resumed                   | SENT, JOB | as for the body                                               |
| BODY to SENT | ResponseHeaders        | ANSWERING | none yet: the answer is withheld                              |
| SENT      | Idle                      | DONE      | Reply: Bedrock was silent for too long                        |
| JOB       | Resumed                   | DONE, JOB, COMPLETING | Reply; or Wait: more side calls, or the response   |
| COMPLETING | Resumed                  | DONE      | Reply                                                         |
| ANSWERING | ResponseBody, ResponseTrailers, Idle | same, DONE |    Head and Body, or Reply                        |
| DONE      | anything                  | DONE      | none                                                          |
| any other pair |                      | DONE      | Abort                                                         |

The awkward joint case is a local reply: Envoy itself may answer at any time (the body is too large, Bedrock cannot
be reached), and that answer comes the same way as Bedrock's. `ResponseHeaders.local`, or a phase in which nothing
has been sent yet, tells them apart.

Invariant: an `ApiError` raised anywhere below becomes one answer in OpenAI's shape; nothing is forwarded that was
not translated and signed; after the last word nothing is said.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from extproc.bedrock import errors as bedrock_errors
from extproc.bedrock.catalogue import Target
from extproc.bedrock.converse_response import ConverseResponseError
from extproc.config import TRANSLATION_SECONDS
from extproc.exchange.admission import announced_bytes, encoded_bytes
from extproc.exchange.answers import Answer, Collected, Streamed
from extproc.exchange.budget import Reservation
from extproc.exchange.calls import Call, ChatCall, EmbeddingsCall, Question
from extproc.exchange.client_headers import names_to_remove, request_id
from extproc.exchange.directives import Abort, Continue, Directive, Forward, Head, Headers, Reply, Wait, is_last
from extproc.exchange.events import (
    Event,
    Idle,
    RequestBody,
    RequestHeaders,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    Resumed,
)
from extproc.exchange.gateway import Gateway
from extproc.exchange.jobs import (
    Decoded,
    FetchResult,
    Read,
    SideAnswer,
    SideFailure,
)
from extproc.exchange.local_replies import from_envoy, no_credentials, silent, too_large
from extproc.exchange.models import model, model_list, resolved
from extproc.exchange.phase import TRANSLATING, UNANSWERED, Phase
from extproc.exchange.routes import Operation, route
from extproc.exchange.side_calls import SideCallBatches
from extproc.exchange.translation import Planned, is_large, release
from extproc.openai import sse
from extproc.openai.completion import Usage
from extproc.openai.errors import ApiError
from extproc.telemetry.record import Record
from extproc.tenancy.directory import Caller
from extproc.translate.chat_sse import ChatSse
from extproc.translate.completed import Completed
from extproc.translate.errors import bad_answer, from_bedrock

_JSON = ("content-type", "application/json")


class Exchange:
    """One exchange; see the module for what it does with which event."""

    def __init__(self, gateway: Gateway, fallback_id: str) -> None:
        self._gateway = gateway
        self._id = fallback_id
        self._phase = Phase.BEGIN
        self._record = Record(fallback_id)
        self._operation: Operation = "chat"
        self._caller: Caller | None = None
        self._target: Target | None = None
        self._upstream_headers: tuple[str, ...] = ()
        self._call: Call | None = None
        self._stream: ChatSse | None = None
        self._answer: Answer | None = None
        self._reservation: Reservation | None = None
        """Bytes of the budget that are this exchange's until its stream has ended."""
        self._side_calls: SideCallBatches | None = None

    @property
    def done(self) -> bool:
        """Whether the last word has been said."""
        return self._phase is Phase.DONE

    def idle_timeout(self, reported: float) -> float | None:
        """Return the seconds of silence after which to send the next `Idle`, `reported` by the last one or 0.

        None while nothing is due from Bedrock: the request is still arriving, or a job with a limit of its own runs.
        """
        if self._phase is Phase.SENT:
            return self._gateway.settings.streaming.idle_seconds
        if self._phase is Phase.ANSWERING:
            assert self._answer is not None
            return self._answer.idle_timeout(reported)
        return None

    def close(self) -> None:
        """Release what the exchange holds of the budget: its stream has ended, in whatever way."""
        self._finish()
        if self._reservation is not None:
            self._reservation.settle(0)

    def receive(self, event: Event, now: float) -> Sequence[Directive]:
        """What to do about `event`; `now` is in unix seconds."""
        if self._phase is Phase.DONE:
            return ()
        try:
            directives = self._move(event, now)
        except ApiError as refusal:
            directives = [self._refusal(refusal)]
        except ConverseResponseError as error:
            directives = [self._refusal(bad_answer(str(error)))]
        for directive in directives:
            if is_last(directive):
                self._finish()
        return directives

    def _move(self, event: Event, now: float) -> Sequence[Directive]:
        """One row of the module's table."""
        match event:
            case ResponseBody() | ResponseTrailers() | Idle() if self._phase is Phase.ANSWERING:
                return self._answering(event)
            case RequestHeaders() if self._phase is Phase.BEGIN:
                return (self._begin(event, now),)
            case RequestBody() if self._phase is Phase.BODY:
                return (self._request(event, now),)
            case ResponseHeaders() if self._phase in UNANSWERED:
                return self._upstream(event)
            case ResponseHeaders() if self._phase is Phase.BEGIN:
                self._phase = Phase.DONE
                return (Continue(),)
            case Idle() if self._phase is Phase.SENT:
                raise silent(event.seconds)
            case Resumed() if self._phase is Phase.FETCHING:
                return (self._fetched(event.result, now),)
            case Resumed() if self._phase is Phase.JOB:
                return (self._resume(event.result, now),)
            case Resumed() if self._phase in TRANSLATING:
                return (self._translated(event.result, now),)
        return (Abort(f"{type(event).__name__} while {self._phase.name}"),)

    def _finish(self) -> None:
        """The last word is said. What was asked and answered is let go: Envoy may keep the stream open for a while,
        and the answer refers back to this, which only the garbage collector would find out."""
        self._phase = Phase.DONE
        self._call = self._stream = self._answer = self._side_calls = None

    # The request

    def _begin(self, event: RequestHeaders, now: float) -> Directive:
        headers = event.headers
        self._record.request_id = request_id(headers) or self._id
        found = route(headers.get(":method", ""), headers.get(":path", ""))
        self._operation = self._record.operation = found.operation
        caller = self._gateway.directory.authenticate(
            headers.get("authorization"), headers.get("openai-organization"), now
        )
        self._caller = caller
        self._record.organisation, self._record.token = caller.organisation, caller.token
        if found.operation == "models":
            return self._reply(200, model_list(self._gateway.catalogue, caller))
        if found.operation == "model":
            return self._reply(200, model(self._gateway.catalogue, caller, found.model))
        budget = self._gateway.budget
        stream = budget.stream_bytes
        size = announced_bytes(event, self._gateway.settings.limits, budget.largest - stream)
        self._reservation = Reservation(budget, caller.organisation, size + stream)
        self._phase = Phase.BODY
        return Continue(names_to_remove(tuple(headers)))

    def _request(self, event: RequestBody, now: float) -> Directive:
        if event.trailers:  # Envoy would send them to AWS as they are
            raise ApiError(400, "The request has trailers. Send it without fields after the body.")
        settings, body = self._gateway.settings, event.data
        if len(body) > settings.limits.request_bytes:
            raise too_large(settings.limits.request_bytes)
        assert self._reservation is not None
        self._reservation.settle(len(body) + self._gateway.budget.stream_bytes)
        if is_large(body):
            self._phase = Phase.READING
            return Wait(Read(body, self._operation, self._record.organisation), TRANSLATION_SECONDS)
        directive = self._decode(body, now)
        release(body)
        return directive

    def _decode(self, body: bytes | bytearray | Decoded, now: float) -> Directive:
        """Go on with a body, once it may be decoded or has been."""
        settings = self._gateway.settings
        assert self._reservation is not None
        call: Call
        if self._operation == "chat":
            call = ChatCall(body, settings, self._id, now)
        else:
            call = EmbeddingsCall(body, self._gateway.detokenise)
        self._call = call
        self._record.model = call.model
        target = self._target = self._resolve(call.model)
        self._record.bedrock_model = target.model_id
        most = (self._gateway.budget.largest - self._reservation.size) * 3 // 4
        fetch = call.fetch(self._record.organisation, most)  # no more than the request can ever be granted
        if fetch is None:
            return self._ask(call, target, now)
        self._reservation.expect(encoded_bytes(fetch.total_bytes))
        self._phase = Phase.FETCHING
        return Wait(fetch, settings.media.seconds)

    def _fetched(self, result: object, now: float) -> Directive:
        assert self._call is not None
        assert self._target is not None
        size = self._call.fetched(cast(FetchResult, result))
        if self._reservation is not None:
            self._reservation.receive(encoded_bytes(size))
        return self._ask(self._call, self._target, now)

    def _ask(self, call: Call, target: Target, now: float) -> Directive:
        capabilities = self._gateway.capabilities.of(target.foundation)
        job = call.planning(target, capabilities, self._record.organisation)
        if job is not None:
            self._phase = Phase.PLANNING
            return Wait(job, TRANSLATION_SECONDS)
        return self._send(call, call.ask(target, capabilities), now)

    def _send(self, call: Call, questions: Sequence[Question], now: float) -> Directive:
        if len(questions) == 1:
            return self._forward(call, questions[0], now)
        self._phase = Phase.JOB
        side_calls = SideCallBatches(questions, self._gateway.settings, self._record.organisation, now)
        self._side_calls = side_calls
        return side_calls.next(self._sign, now)

    def _resolve(self, asked: str) -> Target:
        assert self._caller is not None
        return resolved(self._gateway.catalogue, self._caller, asked)

    def _forward(self, call: Call, question: Question, now: float) -> Forward:
        headers = self._sign(question, now)
        self._stream = call.stream()
        self._record.stream = self._stream is not None
        self._phase = Phase.SENT
        self._record.ignored_params = len(call.ignored)
        return Forward(
            path=question.path,
            authority=self._gateway.authority,
            headers=headers,
            body=question.body,
            metadata=self._record.metadata(),
            mark_by_header=self._gateway.mark_by_header,
        )

    def _sign(self, question: Question, now: float) -> Headers:
        identity = self._gateway.identity()
        if identity is None:
            raise no_credentials()
        signed = self._gateway.signer.sign(identity, question.path, question.body, (_JSON,), now, question.digest)
        return (_JSON, ("accept", question.accept), ("user-agent", "oai-extproc"), *signed)

    # The answer

    def _resume(self, result: object, now: float) -> Directive:
        if isinstance(result, SideAnswer):
            return self._bedrock_refusal(result.status, result.headers, result.body)
        assert self._call is not None
        assert self._side_calls is not None
        if isinstance(result, SideFailure):
            self._record.bedrock_error = result.message
        self._side_calls.receive(result)
        if not self._side_calls.complete:
            return self._side_calls.next(self._sign, now)
        answers, self._side_calls = self._side_calls.responses, None
        job = self._call.completing(answers, self._record.organisation)
        if job is None:
            return self._complete([(answer.headers, answer.body) for answer in answers])
        self._phase = Phase.COMPLETING
        return Wait(job, TRANSLATION_SECONDS)

    def _translated(self, result: object, now: float) -> Directive:
        """Go on with what the other process has made of a large request, or of Bedrock's responses."""
        if isinstance(result, ApiError):
            raise result
        if isinstance(result, Decoded):
            return self._decode(result, now)
        assert self._call is not None
        assert self._target is not None
        if isinstance(result, Planned):
            return self._send(self._call, self._call.planned(result, self._target), now)
        body, tokens = cast(tuple[bytes, int], result)
        return self._completed(Completed(body, Usage(prompt=tokens), "stop"))

    def _upstream(self, event: ResponseHeaders) -> Sequence[Directive]:
        sent = self._phase is Phase.SENT
        self._phase = Phase.ANSWERING
        self._upstream_headers = tuple(name for name in event.headers if not name.startswith(":"))
        self._record.bedrock_request_id = event.headers.get("x-amzn-requestid", "")
        self._answer = self._choose_answer(event, local=event.local or not sent)
        return self._answer.end() if event.end_of_stream else ()

    def _choose_answer(self, event: ResponseHeaders, *, local: bool) -> Answer:
        headers = event.headers
        status = int(headers.get(":status", "0"))
        streaming = self._gateway.settings.streaming
        longest = streaming.idle_seconds
        if local:
            return Collected(lambda body: self._refusal(self._envoy_error(status, event.details)), longest)
        if status != 200:
            return Collected(lambda body: self._bedrock_refusal(status, headers, body), longest)
        if self._stream is None:
            return Collected(lambda body: self._complete([(headers, body)]), longest)
        begun = self._headers(("content-type", sse.CONTENT_TYPE), ("cache-control", "no-cache"))
        head = Head(200, begun, self._upstream_headers)
        return Streamed(self._stream, self._record, head, streaming)

    def _bedrock_refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        failure = bedrock_errors.from_response(status, headers, body)
        self._record.bedrock_error = str(failure)
        return self._refusal(from_bedrock(failure))

    def _envoy_error(self, status: int, details: str) -> ApiError:
        if status == 413:
            return too_large(self._gateway.settings.limits.request_bytes)
        self._record.bedrock_error = details
        return from_envoy(status)

    def _answering(self, event: ResponseBody | ResponseTrailers | Idle) -> list[Directive]:
        assert self._answer is not None
        match event:
            case Idle():
                return self._answer.silence(event.seconds)
            case ResponseTrailers():
                return self._answer.end()
        directives = self._answer.body(event.data) if event.data else []
        if event.end_of_stream and not any(is_last(directive) for directive in directives):
            directives = [*directives, *self._answer.end()]
        return directives

    def _complete(self, answers: Sequence[tuple[Mapping[str, str], bytes]]) -> Reply:
        assert self._call is not None
        return self._completed(self._call.complete(answers))

    def _completed(self, completed: Completed) -> Reply:
        self._record.account(completed.usage, completed.finish)
        headers = self._headers(("content-type", completed.content_type))
        return Reply(200, headers, completed.body, "oai_answer", self._upstream_headers, self._record.metadata())

    # Replies

    def _reply(self, status: int, body: bytes, headers: Headers = (), details: str = "oai_answer") -> Reply:
        return Reply(
            status,
            self._headers(_JSON, *headers),
            body,
            details,
            self._upstream_headers,
            self._record.metadata(),
        )

    def _refusal(self, error: ApiError) -> Reply:
        self._record.finish = error.code or error.type
        details = f"oai_{error.code or error.status}"
        return self._reply(error.status, error.encode(), tuple(error.headers.items()), details)

    def _headers(self, *headers: tuple[str, str]) -> Headers:
        """What every answer says, and `headers`."""
        said = [*headers, ("x-request-id", self._record.request_id)]
        if self._caller is not None:
            said.append(("openai-organization", self._caller.organisation))
        if self._call is not None and self._call.ignored:
            said.append(("x-oai-ignored-params", ", ".join(self._call.ignored)))
        return tuple(said)

"""A client's call as all phases of an exchange see it, and the responses that the gateway itself makes.

An exchange has one `ClientCall`, which the steps of its three phases (`entry`, `sending`, `outcome`) fill in and read.
The state of the exchange does not belong to it: a step takes that as an argument, and returns the next one.

Decision: docs/decisions.md, D297.
"""

from typing import Final

from extproc.bedrock.sigv4 import Headers
from extproc.exchange.budget import Reservation, Unreserved
from extproc.exchange.directives import Reply
from extproc.exchange.endpoint import ResponseContext
from extproc.exchange.gateway import Gateway
from extproc.exchange.jobs import Admit
from extproc.exchange.meter import Meter
from extproc.exchange.models import explained
from extproc.exchange.rate_limits import RateTicket
from extproc.exchange.spending import Hold
from extproc.openai.errors import ApiError
from extproc.telemetry.record import Record
from extproc.tenancy.directory import Caller
from extproc.translate.completed import Completed
from extproc.translate.response_limits import MAX_WHOLE_TEXT

_STORE_CODES: Final = ("limits_unavailable", "budgets_unavailable")
"""The codes of requests that nobody can count."""


class ClientCall:
    """A client's call: its caller, the memory, limits and budgets that it holds, and its response's headers."""

    def __init__(self, gateway: Gateway, fallback_id: str) -> None:
        self.gateway = gateway
        """As the caller's organisation sees it, once that is known."""
        self.id = fallback_id
        self.record = Record(fallback_id, gateway.catalogue.region)
        self.meter = Meter(self.record, 0.0)
        self.now = 0.0
        """The time of the latest event, in unix seconds."""
        self.created = 0
        self.caller: Caller | None = None
        self.ignored: tuple[str, ...] = ()
        self.served = ""
        """The id or ARN that is called in place of an alias; empty for a request without one."""
        self.upstream_headers: tuple[str, ...] = ()
        self.unreserved: Unreserved | None = None
        """The body of which nobody knows yet whether it is to be read."""
        self.reservation: Reservation | None = None
        """The bytes in flight that the call holds until its stream has ended."""
        self.ticket: RateTicket | None = None
        """Its share of the caller's rate limits, if there are any."""
        self.hold: Hold | None = None
        """Its reservation in the caller's budgets, if there are any."""
        self.admit: Admit | None = None
        """The job that counts the request in a store outside of the machine, while it runs."""

    def release(self) -> None:
        """Release the memory that the call holds."""
        self.release_unreserved()
        if self.reservation is not None:
            self.reservation.release()

    def release_unreserved(self) -> None:
        """Count the body no more for which nothing was reserved."""
        if self.unreserved is not None:
            self.unreserved.release()
            self.unreserved = None

    def response_context(self, most_text: int = MAX_WHOLE_TEXT) -> ResponseContext:
        """Return what the translation of a response needs to know."""
        truncation, keys = self.gateway.settings.compat.streaming_truncation, self.gateway.directory.response_keys
        return ResponseContext(self.id, self.created, int(self.now), truncation, keys, most_text)

    def reply(self, status: int, body: bytes, headers: Headers = (), details: str = "oai_answer") -> Reply:
        """Return a whole response of JSON; `details` is one word for Envoy's access log."""
        fields = self.headers(("content-type", "application/json"), *headers)
        changes, usage = self.meter.changes(), self.meter.token_usage()
        return Reply(status, fields, body, details, self.upstream_headers, changes, usage)

    def error(self, error: ApiError) -> Reply:
        """Return an error response."""
        error = explained(error, self.gateway.catalogue, self.caller, self.record.model)
        self.record.finish = error.code or error.type
        if error.code in _STORE_CODES:
            self.record.store_away = True
        details = f"oai_{error.code or error.status}"
        return self.reply(error.status, error.encode(), tuple(error.headers.items()), details)

    def completed(self, completed: Completed) -> Reply:
        """Return the whole response to a call that Bedrock has served."""
        assert self.reservation is not None
        self.reservation.settle(len(completed.body))
        self.meter.count(completed.usage, completed.finish, self.now)
        headers = self.headers(("content-type", completed.content_type))
        changes, usage = self.meter.changes(), self.meter.token_usage()
        return Reply(200, headers, completed.body, "oai_answer", self.upstream_headers, changes, usage)

    def headers(self, *headers: tuple[str, str]) -> Headers:
        """Return `headers`, and those of every response."""
        fields = [*headers, ("x-request-id", self.record.request_id)]
        if self.record.organisation:
            fields.append(("openai-organization", self.record.organisation))
        if self.served:
            fields.append(("x-oai-model-served", self.served))
        if self.ticket is not None:
            fields.extend(self.ticket.headers)
        if self.hold is not None:
            fields.extend(self.hold.headers)
        if self.ignored:
            fields.append(("x-oai-ignored-params", ", ".join(self.ignored)))
        return tuple(fields)

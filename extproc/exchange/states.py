"""The states of an exchange, each with the values that it needs. The table in `exchange` has the transitions."""

from extproc.bedrock.catalogue import Target
from extproc.exchange.budget import Reservation
from extproc.exchange.directives import Directive
from extproc.exchange.endpoint import ApiEndpoint, DecodedRequest, Pending, TranslatedRequest
from extproc.exchange.events import RequestHeaders
from extproc.exchange.image_fetch import ImageFetch
from extproc.exchange.jobs import Admit, HeldRequest
from extproc.exchange.rate_limits import RateTicket
from extproc.exchange.responses import ResponseRelay
from extproc.exchange.routes import BedrockRoute, Route
from extproc.exchange.side_calls import SideCallBatches
from extproc.exchange.spending import Hold
from extproc.tenancy.directory import Caller
from extproc.translate.response_limits import MAX_RESPONSE_BYTES
from extproc.value import Value


class Admitted(Value, frozen=True):
    """A request whose headers have been accepted."""

    endpoint: ApiEndpoint
    caller: Caller
    reservation: Reservation


class Begin(Value, frozen=True):
    """The initial state: nothing has arrived."""


class Identifying(Value, frozen=True):
    """The caller is being looked up."""

    headers: RequestHeaders
    requested: Route


class Assuming(Value, frozen=True):
    """The role of the caller's organisation is being assumed."""

    headers: RequestHeaders
    requested: BedrockRoute
    caller: Caller


class Querying(Value, frozen=True):
    """The usage of the caller's organisation is being queried."""


class Buffering(Value, frozen=True):
    """Envoy buffers the body, which has `size` bytes at most."""

    admitted: Admitted
    size: int


class Reading(Value, frozen=True):
    """Another process decodes the body."""

    admitted: Admitted


class Fetching(Value, frozen=True):
    """The images are being fetched."""

    admitted: Admitted
    request: DecodedRequest | HeldRequest
    target: Target
    fetch: ImageFetch


class Planning(Value, frozen=True):
    """Another process translates the request."""

    admitted: Admitted


class Counting(Value, frozen=True):
    """The request is being counted in a store that takes a round trip: before its images are fetched, or translated.

    `hold` is what it is to hold of budgets, `counted` what it has taken of limits before.
    """

    admitted: Admitted
    admit: Admit
    then: Fetching | TranslatedRequest
    hold: Hold | None = None
    counted: RateTicket | None = None


class Sent(Value, frozen=True):
    """The request has gone to Bedrock."""

    admitted: Admitted
    pending: Pending
    max_response: int
    """Bytes of the longest whole response that it can have."""
    max_text: int = MAX_RESPONSE_BYTES
    """Bytes that the model may write."""


class SideCalling(Value, frozen=True):
    """Side calls are being made."""

    admitted: Admitted
    pending: Pending
    side_calls: SideCallBatches


class Completing(Value, frozen=True):
    """Another process assembles the response."""


class Responding(Value, frozen=True):
    """The response is arriving."""

    relay: ResponseRelay


class Done(Value, frozen=True):
    """The exchange is over."""


State = (
    Begin
    | Identifying
    | Assuming
    | Querying
    | Buffering
    | Reading
    | Fetching
    | Planning
    | Counting
    | Sent
    | SideCalling
    | Completing
    | Responding
    | Done
)

Step = tuple[State, Directive]
"""The next state, and what to do."""

Unanswered = (
    Identifying
    | Assuming
    | Querying
    | Buffering
    | Reading
    | Fetching
    | Planning
    | Counting
    | Sent
    | SideCalling
    | Completing
)
"""States in which the response that comes next is the first: Bedrock's, or Envoy's own."""

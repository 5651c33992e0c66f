"""The bytes of requests that a worker may have in flight, of all organisations and of each.

A request counts from its headers, before Envoy buffers its body, until its stream has ended: Envoy keeps the body for
as long (a call that may be tried again is sent from it). Each worker knows its own streams only.

One rule decides: an organisation may have the same part of what the others leave as `share` is of `whole`. Alone it
may have its share; the more the others hold, the less it may add to what it holds, so that something is always left.

Source: the dynamic threshold of shared-memory switches (A. K. Choudhury and E. L. Hahne, "Dynamic queue length
thresholds for shared-memory packet switches", IEEE/ACM Transactions on Networking 6(2), 1998), with
alpha = share / (whole - share).

Invariant: `taken` is the sum of what was granted and not released, and never above `whole`, nor is an organisation's
above `share` unless `share` was lowered meanwhile. Whatever k organisations do, they leave at least
whole * (1 - share / whole) ** k, and an organisation that holds nothing is granted share / whole of that.
"""

from extproc.config.capacity import STREAM_BYTES
from extproc.openai.errors import ApiError

RETRY_SECONDS = "1"


class Budget:
    """Bytes in flight, granted and released. `share` is the most that one organisation may have of `whole`.

    A request counts its body and `stream_bytes`.
    """

    def __init__(self, whole: int, share: int, stream_bytes: int = STREAM_BYTES) -> None:
        self.whole = whole
        self.share = share
        self.stream_bytes = stream_bytes
        self.taken = 0
        self._by_organisation: dict[str, int] = {}

    @property
    def largest(self) -> int:
        """Bytes that one request can be granted at most, while nothing else is in flight."""
        return min(self.whole, self.share)

    def reserve(self, organisation: str, size: int) -> None:
        """Grant `size` bytes to a request of `organisation`; raises `ApiError` (429, 503) where they are not there."""
        held = self._by_organisation.get(organisation, 0)
        left_by_others = self.whole - (self.taken - held)
        allowed = left_by_others * self.largest // self.whole
        if held + size > allowed:
            raise _too_many_of_its_own(organisation, size, held, allowed) if held else _all_used_up()
        self.taken += size
        self._by_organisation[organisation] = held + size

    def release(self, organisation: str, size: int) -> None:
        """Take back `size` bytes that `organisation` was granted."""
        self.taken -= size
        left = self._by_organisation[organisation] - size
        if left:
            self._by_organisation[organisation] = left
        else:
            del self._by_organisation[organisation]


class Reservation:
    """The bytes of a budget that are one request's, until its stream has ended.

    Each method raises as `Budget.reserve` does.
    """

    def __init__(self, budget: Budget, organisation: str, size: int) -> None:
        budget.reserve(organisation, size)
        self.size = size
        self._budget = budget
        self._organisation = organisation
        self._expected = 0

    def settle(self, size: int) -> None:
        """Have `size` bytes: give the rest back, or take what is missing."""
        if size < self.size:
            self._budget.release(self._organisation, self.size - size)
        elif size > self.size:  # a body that is longer than its content-length
            self._budget.reserve(self._organisation, size - self.size)
        self.size = size

    def expect(self, size: int) -> None:
        """Take up to `size` bytes more, for what is being fetched."""
        self.settle(self.size + size)
        self._expected = size

    def receive(self, size: int) -> None:
        """Have `size` bytes instead of those that were expected."""
        expected, self._expected = self._expected, 0
        self.settle(self.size - expected + size)


def _too_many_of_its_own(organisation: str, size: int, held: int, allowed: int) -> ApiError:
    return ApiError(
        429,
        f"The organisation `{organisation}` has too many bytes of requests in flight: this request needs {size}, "
        f"{held} are in flight, and at most {allowed} are served at the moment. Wait until some of its calls have "
        "ended, then send this one again.",
        type="rate_limit_error",
        code="rate_limit_exceeded",
        headers={"retry-after": RETRY_SECONDS},
    )


def _all_used_up() -> ApiError:
    return ApiError(
        503,
        "The gateway has as many bytes of requests in flight as it has memory for. Send this one again in a moment.",
        type="server_error",
        code="overloaded",
        headers={"retry-after": RETRY_SECONDS},
    )

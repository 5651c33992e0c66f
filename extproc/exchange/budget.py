"""The bytes of requests that a worker may have in flight, of all organisations and of each.

A request counts from its headers, before Envoy buffers its body, until its stream has ended: Envoy keeps the body for
as long (a call that may be tried again is sent from it). It counts what is held for it, which changes as it proceeds:
`Reservation`. Each worker knows its own streams only.

One rule decides: an organisation may have the same part of what the others leave as `share` is of `whole`. Alone it
may have its share; the more the others hold, the less it may add to what it holds, so that something is always left.

Apart from these are the bodies that Envoy may have in small pieces, which take it more than they count: late ones, and
those that wait for images, for side calls or for their callers to be known. `IN_PIECES` bounds them.

Source: the dynamic threshold of shared-memory switches (A. K. Choudhury and E. L. Hahne, "Dynamic queue length
thresholds for shared-memory packet switches", IEEE/ACM Transactions on Networking 6(2), 1998), with
alpha = share / (whole - share).

Invariant: `taken` is the sum of what was granted and not released, and never above `whole`, nor is an organisation's
above `share` unless `share` was lowered meanwhile. Whatever k organisations do, they leave at least
whole * (1 - share / whole) ** k, and an organisation that holds nothing is granted share / whole of that.

Decisions: docs/decisions.md, D64, D100, D101, D200, D319, D327.
"""

from extproc.config.capacity import STREAM_BYTES, slow_bytes
from extproc.exchange.local_replies import too_large_to_hold
from extproc.openai.errors import ApiError

RETRY_SECONDS = "1"

MOST_LISTS = 100
"""Lists of models that an organisation may have unsent: a client asks for one, and a connection has 100 requests."""


IN_PIECES = 0.8
"""The part of all bytes from which on the owner of most bodies in pieces gets no more of them."""

SMALL = 1 << 14
"""Bytes of a body that is no trouble in pieces: what its request counts beside it is as much."""

USUAL = 1 << 20
"""Bytes that a body without a length is taken to have where it is late: seldom has one more."""

_SMALL_IN_PIECES = slow_bytes(SMALL) + 1


class MemoryBudget:
    """Bytes in flight, granted and released. `share` is the most that one organisation may have of `whole`.

    `stream_bytes` is what each request counts beside its bodies.
    """

    def __init__(self, whole: int, share: int, stream_bytes: int = STREAM_BYTES) -> None:
        self.whole = whole
        self.share = share
        self.stream_bytes = stream_bytes
        self.taken = 0
        self._by_organisation: dict[str, int] = {}
        self._awaited: dict[str, int] = {}
        self._lists: dict[str, int] = {}
        self._pieces: dict[str, int] = {}

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

    def begin_list(self, organisation: str) -> None:
        """Count a list of models that is about to be sent. Raises a 429 `ApiError` beyond `MOST_LISTS`."""
        lists = self._lists.get(organisation, 0)
        if lists >= MOST_LISTS:
            raise _too_many_lists(organisation)
        self._lists[organisation] = lists + 1

    def end_list(self, organisation: str) -> None:
        """Count it no more."""
        lists = self._lists.pop(organisation) - 1
        if lists:
            self._lists[organisation] = lists

    def hold_pieces(self, owner: str, size: int) -> None:
        """Count `size` bytes for a body that Envoy may have in small pieces, beside what is granted.

        `owner` is an organisation, or an address of strangers. It may always have one such body, and those that are
        `SMALL`. Where there are too many of all, who has most of them gets no more: raises a 429 `ApiError`.
        """
        held = self._pieces.get(owner, 0)
        others = [other for name, other in self._pieces.items() if name != owner]
        allowed = max(int(self.whole * IN_PIECES) - sum(others), *others, 0)
        if held and size > _SMALL_IN_PIECES and held + size > allowed:
            raise _too_many_in_pieces(owner)
        self._pieces[owner] = held + size

    def release_pieces(self, owner: str, size: int) -> None:
        """Count them no more."""
        left = self._pieces.pop(owner) - size
        if left:
            self._pieces[owner] = left

    def serves_others(self, organisation: str) -> bool:
        """Return whether other organisations hold anything."""
        return self.taken > self._by_organisation.get(organisation, 0)

    def expect(self, organisation: str) -> None:
        """Count a request whose body is to come."""
        self._awaited[organisation] = self._awaited.get(organisation, 0) + 1

    def arrived(self, organisation: str) -> int:
        """Count it no more; return how many bodies of the organisation are still to come."""
        awaited = self._awaited[organisation] - 1
        if awaited:
            self._awaited[organisation] = awaited
        else:
            del self._awaited[organisation]
        return awaited


class Unreserved:
    """A body that Envoy takes in while its caller is looked up or a role is assumed; it may never be read.

    It counts for what Envoy may take for it in pieces, as one of `owner`: an organisation, or an address of strangers.
    """

    def __init__(self, budget: MemoryBudget, owner: str, body: int) -> None:
        """Raise a 429 `ApiError` as `hold_pieces` does."""
        self._budget = budget
        self._owner = owner
        self._size = slow_bytes(body) + 1
        budget.hold_pieces(owner, self._size)

    def release(self) -> None:
        """Count it no more."""
        self._budget.release_pieces(self._owner, self._size)


class Reservation:
    """The bytes of a budget that one request holds, until its stream has ended.

    They are those of its stream; the larger of `body`, as it came, and of `outgoing`, all that goes out for it, since
    Envoy and the worker have first the one and then the other; and `response`, where all of it is kept. Apart from
    these there are `pieces`: what Envoy may take for a body that it holds for long, until another takes its place.
    """

    def __init__(self, budget: MemoryBudget, organisation: str, body: int) -> None:
        """Raise `ApiError` as `hold` does."""
        self.body = self.outgoing = self.response = self.size = self.pieces = 0
        self._budget = budget
        self._organisation = organisation
        self._awaited = self._lists = False
        self.hold(body=body)
        budget.expect(organisation)
        self._awaited = True

    @property
    def most(self) -> int:
        """Bytes that one request can ever hold beside those of its stream."""
        return self._budget.largest - self._budget.stream_bytes

    @property
    def is_shared(self) -> bool:
        """Whether other organisations have requests in flight."""
        return self._budget.serves_others(self._organisation)

    @property
    def room(self) -> int:
        """Bytes by which it may grow, while nothing else is in flight."""
        return self._budget.largest - self.size

    def hold(self, *, body: int | None = None, outgoing: int | None = None, response: int | None = None) -> None:
        """Hold so many bytes from now on; what is left out stays as it is.

        Raises `ApiError` where they are not there (429, 503) or never can be (413), and then changes nothing.
        """
        body = self.body if body is None else body
        outgoing = self.outgoing if outgoing is None else outgoing
        response = self.response if response is None else response
        size = self._budget.stream_bytes + max(body, outgoing) + response
        more = size - self.size
        if more > 0:
            if more > self.room:
                raise too_large_to_hold(size, self._budget.largest)
            self._budget.reserve(self._organisation, more)
        elif more < 0:
            self._budget.release(self._organisation, -more)
        self.body, self.outgoing, self.response, self.size = body, outgoing, response, size

    def hold_pieces(self, most: int | None = None) -> None:
        """Count what Envoy may take for the body in small pieces, of `most` bytes of it, if it is not counted yet.

        Raises a 429 `ApiError`.
        """
        if not self.pieces:
            size = slow_bytes(self.body if most is None else min(self.body, most)) + 1
            self._budget.hold_pieces(self._organisation, size)
            self.pieces = size

    def settle_pieces(self) -> None:
        """Count no more for a body that has arrived than it has, where it is shorter than its headers let it be."""
        if 0 < (size := slow_bytes(self.body) + 1) < self.pieces:
            self._budget.release_pieces(self._organisation, self.pieces - size)
            self.pieces = size

    def drop_pieces(self) -> None:
        """Count that no more: another body takes the place of this one."""
        if self.pieces:
            self._budget.release_pieces(self._organisation, self.pieces)
            self.pieces = 0

    def settle(self, response: int) -> None:
        """Hold no more than `response` for the response; never more than before, for its calls have been billed."""
        self.hold(response=min(self.response, response))

    def begin_list(self) -> None:
        """Count a list of models that is about to be sent. Raises a 429 `ApiError`."""
        self._budget.begin_list(self._organisation)
        self._lists = True

    def arrived(self) -> int:
        """Return how many bodies of the organisation are to come beside this one, which has."""
        self._awaited = False
        return self._budget.arrived(self._organisation)

    def release(self) -> None:
        """Give everything back."""
        if self._awaited:
            self.arrived()
        self.drop_pieces()
        if self._lists:
            self._lists = False
            self._budget.end_list(self._organisation)
        if self.size:
            self._budget.release(self._organisation, self.size)
        self.body = self.outgoing = self.response = self.size = 0


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


def _too_many_in_pieces(organisation: str) -> ApiError:
    return ApiError(
        429,
        f"The organisation `{organisation}` has several large requests whose bodies arrive slowly, or wait: in small "
        "pieces they take more memory. Wait until some of these have ended, then send this one again.",
        type="rate_limit_error",
        code="rate_limit_exceeded",
        headers={"retry-after": RETRY_SECONDS},
    )


def _too_many_lists(organisation: str) -> ApiError:
    return ApiError(
        429,
        f"The organisation `{organisation}` has {MOST_LISTS} lists of models that are not sent yet. Wait for these.",
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

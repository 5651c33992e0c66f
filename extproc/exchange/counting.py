"""What a call takes of its caller's limits, and holds of its caller's budgets, while the exchange goes on.

`rate_limits` and `spending` know what that is; here is when: requests with images before these are fetched, all before
they leave, and settled when the exchange is over. Counters and accounts of this machine decide at once. Those in a
store far away take a round trip, for which the exchange waits in `Counting`.

Invariant: no call leaves for Bedrock that was to be counted and is not, unless its store may be done without.

Decision: docs/decisions.md, D332.
"""

from collections.abc import Sequence

from extproc.config.redis import ADMIT_SECONDS
from extproc.exchange.call import ClientCall
from extproc.exchange.directives import Wait
from extproc.exchange.endpoint import TranslatedRequest
from extproc.exchange.gateway import RemoteStore
from extproc.exchange.jobs import Admission, Admit
from extproc.exchange.rate_limits import count, take, ticket, to_take
from extproc.exchange.spending import Hold, to_hold
from extproc.exchange.states import Admitted, Counting, Fetching, Step
from extproc.limits.spending import OwnedBudget
from extproc.openai.errors import ApiError


def count_fetch(call: ClientCall, fetching: Fetching) -> Step | None:
    """Count a request whose images are to be fetched; return a step where that takes a round trip.

    It counts also where they cannot be had: other hosts are asked for them. Raises a 429 or 503 `ApiError`.
    """
    scopes, remote = fetching.admitted.caller.limits, call.gateway.remote
    if scopes is None:
        return None
    if remote is not None and remote.ready:
        return _wait(call, Counting(fetching.admitted, Admit(call.id, scopes, 0, False, (), None), fetching))
    call.ticket = count(call.gateway.counters, scopes, call.record)
    return None


def count_call(call: ClientCall, admitted: Admitted, translated: TranslatedRequest) -> Step | None:
    """Count a request that is ready to leave; return a step where that takes a round trip.

    Raises an `ApiError`: 429 beyond a limit or a budget, 403 for a model without a price, 503 where nobody can count.
    """
    remote, limits, budgets = call.gateway.remote, admitted.caller.limits, admitted.caller.budgets
    if remote is not None and remote.ready:
        return _count_remotely(call, remote, admitted, translated)
    held = None if budgets is None else _to_hold(call, budgets, translated)
    if limits is not None:
        counters, counted = call.gateway.counters, call.ticket
        call.ticket = None
        call.ticket = take(counters, limits, call.record, translated.calls, translated.pending.streams, counted)
    if held is not None:
        held.reserve(call.now)
    call.hold = held
    return None


def _count_remotely(
    call: ClientCall, remote: RemoteStore, admitted: Admitted, translated: TranslatedRequest
) -> Step | None:
    """Return the step that waits for a store far away; None for a caller without limits and budgets.

    None also for a request that is counted by what the worker has taken in advance.
    """
    limits, budgets, counted = admitted.caller.limits, admitted.caller.budgets, call.ticket
    held = None if budgets is None else _to_hold(call, budgets, translated)
    if limits is None and held is None:
        return None
    call.ticket = None
    scopes, tokens, stream = to_take(limits or (), translated.calls, translated.pending.streams, counted)
    if held is None and not stream and (known := remote.known(scopes, tokens)) is not None:
        call.ticket = ticket(call.gateway.counters, scopes, known, call.record, tokens, False, counted)
        return None
    charges, running = ((), None) if held is None else (held.charges, held.costs)
    admit = Admit(call.id, scopes, tokens, stream, charges, running)
    return _wait(call, Counting(admitted, admit, translated, held, counted))


def _wait(call: ClientCall, counting: Counting) -> Step:
    call.admit = counting.admit
    return counting, Wait(counting.admit, ADMIT_SECONDS)


def note_admission(call: ClientCall, state: Counting, admission: Admission) -> None:
    """Take note of what a store has decided. Raises the `ApiError` that it led to."""
    admit, decision, verdict = state.admit, admission.decision, admission.verdict
    call.admit = None
    if isinstance(decision, ApiError):
        raise decision
    if decision is not None:
        counters, scopes = call.gateway.counters, admit.scopes
        call.ticket = ticket(counters, scopes, decision, call.record, admit.tokens, admit.stream, state.counted)
    if isinstance(verdict, ApiError):
        raise verdict
    if state.hold is not None:
        state.hold.decided(verdict, call.now)
        call.hold = state.hold


def settle(call: ClientCall, soon: bool = False) -> None:
    """Count what a call has used and cost, now that its exchange is over; only the first time counts.

    `soon`: its caller has left. Many may leave in one turn of the event loop, and nobody is told that they are counted.
    """
    if call.admit is not None and call.gateway.remote is not None:
        call.gateway.remote.withdraw(call.admit)
        call.admit = None
    if call.ticket is not None:
        call.ticket.settle(call.record.input_tokens + call.record.output_tokens, soon)
    if call.hold is not None:
        call.hold.settle(soon)


def _to_hold(call: ClientCall, budgets: Sequence[OwnedBudget], translated: TranslatedRequest) -> Hold | None:
    """Return what the request may cost in its caller's budgets. Raises `ApiError`."""
    calls, streams = translated.calls, translated.pending.streams
    on_unpriced, accounts = call.gateway.settings.budgets.on_unpriced, call.gateway.accounts
    return to_hold(accounts, call.id, budgets, calls, call.meter, call.record, on_unpriced, streams, call.now)

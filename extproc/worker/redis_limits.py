"""Counters and accounts in a Redis, which the workers of several machines share.

A request is admitted by one script, which counts its rates and holds what it may cost (`RedisStore`, the job `Admit`),
and its end is another. Once a second the worker shows that it lives, what its open calls have cost, and which streams
it has. What the store does not know of these, because it has forgotten all, a replica took its place, or they were
admitted without it, is held anew.

Where limits are large, a request takes enough for those that follow it at once, and these are decided by what is known
(`extproc.limits.advances`).

While the store does not work, `RedisRates` and `RedisAccounts` decide without it, and ends are kept (`redis_ends`).

Decisions: docs/decisions.md, D251, D253, D277, D312.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from extproc.config import Settings
from extproc.config.redis import RedisSettings
from extproc.exchange.jobs import Admission, Admit
from extproc.limits import gcra
from extproc.limits.counters import Bucket, Clock, Decision, Scope, decide
from extproc.limits.spending import MOST_IN_GROUP, Balance, Charge, Running, others
from extproc.limits.spending import decide as decide_budgets
from extproc.openai.errors import ApiError
from extproc.worker.redis_advances import RedisAdvances
from extproc.worker.redis_alone import RedisAccounts, RedisRates
from extproc.worker.redis_client import RedisClient
from extproc.worker.redis_connection import Done, RedisError, RedisTimeoutError
from extproc.worker.redis_ends import BATCH, RedisEnds
from extproc.worker.redis_lateness import Lateness
from extproc.worker.redis_scripts import ADMIT, BEAT, END, LEASE_MS

log = logging.getLogger(__name__)

BEAT_SECONDS: Final = 1.0

REFRESH_BEATS: Final = LEASE_MS // 3000
"""Beats after which the leases of open streams are extended."""

MOST_RECENT: Final = 5_000
"""Most accounts whose balances are asked for in each beat."""

CLOSE_SECONDS: Final = 1.0

Reply = tuple[list[tuple[int, int, int]], list[tuple[int, int]], list[int], int]
_REPLY: Final = msgspec.msgpack.Decoder(Reply)
_BEATEN: Final = msgspec.msgpack.Decoder(tuple[int, list[str], list[tuple[int, int]]])


class RedisStore:
    """The store of one worker; `settings` returns those in force, `redis` is where it is."""

    def __init__(
        self, redis: RedisSettings, settings: Callable[[], Settings], clock: Clock = time.monotonic_ns
    ) -> None:
        self.rates = RedisRates(self, settings, clock)
        self.accounts = RedisAccounts(self, settings)
        self.workers = 1
        """Workers that share it, as of the last beat."""
        self.client = RedisClient(redis, (ADMIT, END, BEAT), f"{{{redis.prefix}}}:")
        self._name = os.urandom(8).hex()
        self.ends = RedisEnds(self.client, self._name, self.accounts)
        self.advances = RedisAdvances(clock, self._owe)
        self._lateness = Lateness(redis.url, redis.timeout_ms, clock)
        self._seconds = redis.timeout_ms / 1000
        self._clock = clock
        self._prefix = f"{{{redis.prefix}}}:"
        self._streams: dict[str, list[str]] = {}
        """The scopes of this worker's open streams, by call."""
        self._running: dict[str, tuple[Sequence[Charge], Running]] = {}
        """Its open calls that hold something."""
        self._counted: dict[str, Sequence[int]] = {}
        """What they had cost when the store was told last."""
        self._strays: set[str] = set()
        """Calls that the store held for this worker at the last look, and that were not open."""
        self._beats = 0
        self._wake = asyncio.Event()
        """Whether to beat at once."""
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> bool:
        """Whether the store can be asked now."""
        return self.client.ready

    async def __call__(self, admit: Admit, seconds: float) -> Admission:
        """Admit a request; where the store does not reply in time, without it."""
        future: asyncio.Future[Reply | RedisError] = asyncio.get_running_loop().create_future()
        sent, ahead = self._clock(), self.advances.ask(admit)

        def done(reply: Any) -> None:
            answer: Reply | RedisError = reply if isinstance(reply, RedisError) else _REPLY.decode(reply)
            if isinstance(answer, RedisTimeoutError):
                self._lateness.late()
            elif not isinstance(answer, RedisError):
                self._lateness.timely()
            if ahead and isinstance(answer, RedisError):
                self.advances.failed(admit)
            elif ahead and not isinstance(answer, RedisError):
                self.advances.taken(admit, sent, answer[0], answer[3])
            if not future.done():
                future.set_result(answer)

        self.ends.flush()
        self.client.run_script(ADMIT, self._message(admit, sent, ahead), done, self._seconds)
        answer = await future
        admit.admission = admission = (
            self._without(admit) if isinstance(answer, RedisError) else self._with(admit, answer)
        )
        return admission

    def known(self, scopes: Sequence[Scope], tokens: int) -> Decision | None:
        """Count a request that is no stream by what was taken in advance; None: the store has to be asked."""
        return self.advances.admit(scopes, tokens)

    def withdraw(self, admit: Admit) -> None:
        """Count a request no more that is over before it was admitted, or before its exchange got to know that."""
        admission, nothing = admit.admission, [0] * len(admit.charges)
        if admission is None:
            self._forget(admit)
            return
        decision = admission.decision
        if isinstance(decision, Decision) and decision.rejection is None:
            self.rates.settle(admit.scopes, decision, admit.tokens, 0)
            if admit.stream:
                self.rates.release(admit.scopes, decision)
        if admit.charges and not isinstance(admission.verdict, ApiError):
            self.accounts.settle(admit.call, admit.charges, nothing)

    def opened(self, call: str, charges: Sequence[Charge], running: Running) -> None:
        """Note that a call is to hold something. The next beat tells the store what it has cost."""
        self._running[call] = charges, running

    def closed(self, call: str) -> None:
        """Note that it is over."""
        self._running.pop(call, None)
        self._counted.pop(call, None)

    def stream_ended(self, call: str) -> None:
        """Have the end of a stream sent at once: its client may send the next request."""
        self.ends.of(call, at_once=True).released = self._streams.pop(call, ())

    def start(self) -> None:
        """Connect, and begin to beat."""
        self._tasks = [
            asyncio.create_task(self.client.run(self._connected)),
            asyncio.create_task(self._beat_for_ever()),
        ]

    async def attempted(self) -> None:
        """Wait until it was tried to connect."""
        await self.client.attempted.wait()

    async def close(self) -> None:
        """Send what is to be sent, and close the connection."""
        self.advances.tell()
        self.ends.flush()
        self.ends.send_kept()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.ends.settled.wait()
        if self.ends.uncounted:
            log.warning("%d calls are not counted in the store, which does not work", self.ends.uncounted)
        for task in self._tasks:
            task.cancel()
        self.client.close()

    def tell(self, done: Done, key: str, end: int) -> None:
        """Note that something is told about `key` until `end`, in unix seconds; `done` gets None if it was before."""
        name = f"{self._prefix}told:{key}".encode("utf-8", "surrogatepass")
        self.client.send(done, b"SET", name, b"1", b"NX", b"EXAT", str(max(end, int(time.time()) + 1)).encode())

    def beat(self) -> Iterator[None]:
        """Show that this worker lives, and what its calls have cost: a part of them with each step."""
        self.client.check()
        self._lateness.check()
        if not self.client.connected:
            return
        whole, accounts = self._beats % REFRESH_BEATS == 0, self.accounts.recent(MOST_RECENT)
        self._beats += 1
        self.advances.sweep()
        if whole:
            self._look_for_strays()
        streams, calls = list(self._streams) if whole else [], list(self._running)
        for start in range(0, max(len(streams), len(calls), len(accounts), 1), BATCH):
            sent = self._costs(calls[start : start + BATCH], whole)
            part = streams[start : start + BATCH]  # some may have ended in between
            leases = [(scope, (call,)) for call in part for scope in self._streams.get(call, ())]
            asked = accounts[start : start + BATCH]
            message = (self._name, leases, list(sent.items()), asked)
            done = partial(self._beaten, sent, asked)
            self.client.run_script(BEAT, msgspec.msgpack.encode(message), done)
            yield
        self.ends.send_kept()

    def _connected(self) -> None:
        """Have a store with which there is a new connection told everything."""
        self._beats = 0
        self._wake.set()

    def _costs(self, calls: Sequence[str], whole: bool) -> dict[str, Sequence[int]]:
        """Return what open calls have cost, where that has changed or the `whole` is wanted."""
        costs = {call: self._running[call][1]() for call in calls if call in self._running}
        return costs if whole else {call: each for call, each in costs.items() if each != self._counted.get(call)}

    def _owe(self, owed: Mapping[str, int]) -> None:
        """Have buckets of tokens moved, for calls that nobody tells apart."""
        moved = self.ends.of("").moved
        for key, change in owed.items():
            moved[key] = moved.get(key, 0) + change

    def _message(self, admit: Admit, now: int, ahead: int) -> bytes:
        """Return the request as a message. It takes the rests of its scopes' advances with it."""
        scopes = [
            (
                each.key,
                gcra.cost(1, each.requests) if each.requests else -1,
                min(gcra.cost(admit.tokens, each.tokens), gcra.LONGEST_DEBT) if each.tokens else -1,
                each.streams,
                *self.advances.take_rest(each.key, now),
            )
            for each in admit.scopes
        ]
        return self._encoded(admit.call, admit.stream, scopes, admit.charges, ahead)

    def _encoded(
        self, call: str, stream: bool, scopes: Sequence[object], charges: Sequence[Charge], ahead: int = 0
    ) -> bytes:
        rows = [
            (each.key, each.limit, each.amount, each.end, each.counted, each.enforced, each.group) for each in charges
        ]
        return msgspec.msgpack.encode((self._name, call, MOST_IN_GROUP, stream, scopes, rows, ahead))

    def _with(self, admit: Admit, answer: Reply) -> Admission:
        """Return the decision, by what the store has returned."""
        buckets, balances, shared, _ = answer
        decision: Decision | None = None
        if admit.scopes:
            now = self._clock()
            found = [Bucket(now + requests, now + tokens, streams) for requests, tokens, streams in buckets]
            decision = decide(admit.scopes, found, now, admit.tokens, admit.stream)
            if decision.rejection is not None:
                return Admission(decision)
            decision.call = admit.call
            if admit.stream:
                self._streams[admit.call] = [each.key for each in admit.scopes if each.streams]
        if not admit.charges or admit.running is None:
            return Admission(decision)
        verdict = decide_budgets(admit.charges, [Balance(spent, held) for spent, held in balances], shared)
        charges = _of_others(admit.charges, shared) if shared else admit.charges
        self.accounts.used(charges, verdict.balances)
        if verdict.rejected < 0:
            self.opened(admit.call, charges, admit.running)
            self._counted[admit.call] = [charge.counted for charge in charges]
        return Admission(decision, verdict)

    def _without(self, admit: Admit) -> Admission:
        """Return the decision that is made without the store, and have it forget what that does not need."""
        admission = self._alone(admit)
        self._forget(admit)
        return admission

    def _alone(self, admit: Admit) -> Admission:
        """Return the decision that is made without the store."""
        admission = Admission()
        try:
            if admit.scopes:
                admission = Admission(self.rates.admit(admit.scopes, admit.tokens, admit.stream))
            if isinstance(admission.decision, Decision) and admission.decision.rejection is not None:
                return admission
        except ApiError as error:
            return Admission(error)
        try:
            if admit.charges and admit.running is not None:
                verdict = self.accounts.reserve(admit.call, admit.charges, admit.running)
                return Admission(admission.decision, verdict)
        except ApiError as error:
            return Admission(admission.decision, error)
        return admission

    def _forget(self, admit: Admit) -> None:
        """Have the store count a request no more that it may have got: its stream, and what it holds.

        A call that was admitted without the store is to be held there.
        """
        charges = () if admit.call in self._running else admit.charges
        if admit.stream or charges:
            end = self.ends.of(admit.call)
            end.released = [each.key for each in admit.scopes if each.streams] if admit.stream else ()
            end.charges, end.costs = charges, [0] * len(charges)

    async def _beat_for_ever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            try:
                for _ in self.beat():
                    await asyncio.sleep(0)
            except Exception:  # a bug, too, is no reason to stop for good
                log.exception("the store is not told that this worker lives")

    def _beaten(self, sent: dict[str, Sequence[int]], accounts: Sequence[str], reply: Any) -> None:
        """Take note of a beat's reply; hold anew what the store does not know."""
        if isinstance(reply, RedisError):
            return
        self.workers, unknown, balances = _BEATEN.decode(reply)
        lacking = set(unknown)
        for call, costs in sent.items():
            if call not in lacking:
                self.accounts.held(call)
                if call in self._running:
                    self._counted[call] = costs
        self.accounts.synced(accounts, [Balance(spent, held) for spent, held in balances])
        for call in unknown:
            if call in self._running:
                self._hold_anew(call, sent[call])

    def _look_for_strays(self) -> None:
        """Settle what is held of calls that have ended: a replica may have a call, and not its end.

        One that is about to begin or to end may be here at one look, and not at the next, five seconds later.
        """

        def done(reply: Any) -> None:
            if isinstance(reply, RedisError):
                return
            strays = {call.decode() for call in reply} - self._running.keys()
            for call in strays & self._strays:
                self.ends.of(call).forgotten = True
            self._strays = strays - self._strays

        self.client.send(done, b"HKEYS", f"{self._prefix}holds:{self._name}".encode())

    def _hold_anew(self, call: str, costs: Sequence[int]) -> None:
        """Have the store hold an open call that it does not know, and has cost so much; else the next beat does."""
        self._counted.pop(call, None)
        charges = self._running[call][0]

        def done(reply: Any) -> None:
            if isinstance(reply, RedisError):
                return
            _, balances, shared, _ = _REPLY.decode(reply)
            held = _of_others(charges, shared) if shared else charges
            self.accounts.used(held, [Balance(spent, held) for spent, held in balances])
            self.accounts.forget(call)
            if call in self._running:
                self._running[call] = held, self._running[call][1]

        again = [
            msgspec.structs.replace(charge, enforced=False, counted=cost)
            for charge, cost in zip(charges, costs, strict=True)
        ]
        self.client.run_script(ADMIT, self._encoded(call, False, (), again), done)


def _of_others(charges: Sequence[Charge], shared: Sequence[int]) -> list[Charge]:
    """Return the charges, of which those at the places `shared` are to the accounts that others share."""
    return [
        msgspec.structs.replace(charge, key=others(charge.group), group="") if place in shared else charge
        for place, charge in enumerate(charges)
    ]

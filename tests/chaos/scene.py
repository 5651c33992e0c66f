"""A scenario: a call in some phase, neighbours beside it, a fault, and the outcomes of all of them.

| phase     | the call is                                                     |
|-----------|-----------------------------------------------------------------|
| headers   | half-way through its request's headers                           |
| body      | half-way through its request's body; a worker has its headers    |
| waiting   | at Bedrock, which has sent no response                           |
| streaming | half-way through Bedrock's response                              |
| ending    | complete at Bedrock but for the last bytes                       |

Invariants of every scenario, whatever the fault: no caller gets a short response without an error, or silence; every
error has a code; nothing reaches Bedrock that no worker translated and signed; neighbours end well, where the fault is
not theirs too; and when it is over the gateway serves again.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.admin import admin
from tests.chaos.callers import ERROR, ERROR_EVENT, SHORT, SILENCE, WHOLE, Caller, Outcome
from tests.chaos.record import Record, Row
from tests.chaos.upstream import (
    END,
    METADATA,
    RESPONSE,
    START,
    STOP,
    Act,
    Script,
    Step,
    Upstream,
    deltas,
    head,
    whole_response,
    whole_stream,
)

CLUSTERS = ("processor", "bedrock")
PHASES = ("headers", "body", "waiting", "streaming", "ending")
DEADLINE = 60.0


def until(condition: Callable[[], Any], description: str) -> Any:
    """Poll until the condition returns a true value, and return it."""
    end = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < end, description
        time.sleep(0.01)
    return value


def steps_of(phase: str, *, stream: bool) -> list[Step]:
    """Return what Bedrock sends to a call that is to stay in this phase for a while."""
    first, *more = deltas()
    hold = Act.HOLD
    match phase, stream:
        case ("waiting", _):
            return [hold, *(whole_stream() if stream else whole_response())]
        case ("streaming", True):
            return [head(), START, first, hold, *more, STOP, METADATA, END]
        case ("streaming", False):
            return [head("application/json", len(RESPONSE)), RESPONSE[:30], hold, RESPONSE[30:]]
        case ("ending", True):
            return [head(), START, first, *more, STOP, hold, METADATA, END]
        case ("ending", False):
            return [head("application/json", len(RESPONSE)), RESPONSE[:-1], hold, RESPONSE[-1:]]
    return [*(whole_stream() if stream else whole_response())]


@dataclass
class Call:
    """A caller and what Bedrock has for it."""

    caller: Caller
    script: Script

    def end(self) -> Outcome:
        """Let Bedrock go on, and read to the end."""
        self.script.go.set()
        return self.caller.finish()


@dataclass
class Scene:
    """A gateway in front of an upstream, and where results go."""

    gateway: Any
    upstream: Upstream
    transport: str
    workers: int
    record: Record
    open: list[Caller] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        """Return the address that the gateway listens on."""
        host, _, port = self.gateway.origin.removeprefix("http://").rpartition(":")
        return host, int(port)

    def caller(self, script: Script, *, stream: bool) -> Caller:
        """Return a caller that has sent nothing yet."""
        caller = Caller(self.address, self.gateway.tokens["ci"], script.prompt, stream=stream)
        self.open.append(caller)
        return caller

    def begin(self, phase: str, *, stream: bool, steps: Sequence[Step] | None = None) -> Call:
        """Bring a call into a phase; Bedrock's part can be another than the phase's own."""
        script = self.upstream.script(*(steps_of(phase, stream=stream) if steps is None else steps))
        before = self.stat("http.oai.ext_proc.streams_started") if phase == "body" else 0
        caller = self.caller(script, stream=stream)
        if phase == "headers":
            caller.send(60)
            return Call(caller, script)
        if phase == "body":
            caller.send(len(caller.head) + len(caller.body) // 2)
            until(lambda: self.stat("http.oai.ext_proc.streams_started") > before, "no worker hears of the call")
            return Call(caller, script)
        caller.send()
        assert script.arrived.wait(DEADLINE), ("the call does not reach Bedrock", caller.finish(), self.condition())
        if steps is None:
            assert script.reached.wait(DEADLINE)
            if phase != "waiting" and stream:
                caller.read_delta()
        return Call(caller, script)

    def neighbours(self) -> list[Call]:
        """Begin streams that last until they are released: one, or several if there are several workers."""
        return [self.begin("streaming", stream=True) for _ in range(1 if self.workers == 1 else 4)]

    def run(
        self,
        section: str,
        fault: str,
        phase: str,
        *,
        stream: bool,
        strike: Callable[[], object],
        sees: Sequence[str],
        spares_neighbours: bool = True,
        note: str = "",
    ) -> Outcome:
        """Strike while a call is in `phase`; `sees` are the kinds of outcome that are right."""
        beside = self.neighbours()
        call = self.begin(phase, stream=stream)
        call.caller.struck()
        strike()
        if phase in ("headers", "body"):
            call.caller.send()
        outcome = call.end()
        others = [one.end() for one in beside]
        self.check(outcome, others, sees, spares_neighbours=spares_neighbours)
        self.add(section, fault, phase, "stream" if stream else "buffered", outcome, others, note)
        self.serves_again()
        return outcome

    def check(
        self, outcome: Outcome, others: Sequence[Outcome], sees: Sequence[str], *, spares_neighbours: bool = True
    ) -> None:
        """Assert what holds in every scenario, and that this outcome is one that is right."""
        for one in (outcome, *others):
            assert one.kind not in (SHORT, SILENCE), (outcome, others, self.gateway.log()[-3000:])
            assert one.code or one.kind not in (ERROR, ERROR_EVENT), one
        assert outcome.kind in sees, (outcome, self.gateway.log()[-3000:])
        assert not spares_neighbours or all(one.kind == WHOLE for one in others), (others, self.gateway.log()[-3000:])
        assert not self.upstream.untranslated, self.upstream.untranslated

    def add(
        self,
        section: str,
        fault: str,
        phase: str,
        call: str,
        outcome: Outcome,
        others: Sequence[Outcome],
        note: str = "",
    ) -> None:
        """Record a scenario that has held."""
        lost = sum(one.kind != WHOLE for one in others)
        named = (section, fault, phase, call, self.transport, self.workers)
        self.record.add(
            Row(*named, outcome.kind, outcome.status, outcome.code, outcome.seconds, len(others), lost, note)
        )

    def serves_again(self) -> None:
        """Wait until all workers are back and a row of calls is served whole."""
        until(self.all_healthy, "the workers are not all back")
        until(lambda: all(self.responds() for _ in range(3)), "it does not serve again")

    def all_healthy(self) -> bool:
        """Return whether Envoy takes every worker for healthy."""
        try:
            return self.stat("cluster.processor.membership_healthy") == self.workers
        except OSError:
            return False

    def responds(self) -> bool:
        """Make one call, and return whether its response is whole."""
        try:
            caller = self.caller(self.upstream.script(*whole_response()), stream=False)
        except OSError:
            return False
        caller.send()
        outcome = caller.finish()
        assert outcome.kind not in (SHORT, SILENCE), outcome
        return outcome.kind == WHOLE

    def stat(self, name: str) -> int:
        """Read one of Envoy's statistics."""
        text = admin(self.gateway.run_directory / "admin.sock", f"/stats?filter=^{name}$").decode()
        return int(text.rpartition(": ")[2] or 0)

    def condition(self) -> str:
        """Return how the programs are, for the message of a failure."""
        names = (
            "membership_healthy",
            "upstream_cx_connect_fail",
            "upstream_rq_pending_failure_eject",
            "upstream_rq_5xx",
        )
        counted = {
            f"{cluster}.{name}": self.stat(f"cluster.{cluster}.{name}") for cluster in CLUSTERS for name in names
        }
        return f"{counted}, {self.upstream.troubles[-3:]}, {self.gateway.log()[-3000:]}"

    def close(self) -> None:
        """End what is still open."""
        for caller in self.open:
            caller.close()

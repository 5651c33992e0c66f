"""The last calls, for whoever wants to look: what arrived, and what became of it.

A call is `running` until it is `finished` (answered), `refused` (an AWS error as its HTTP answer) or `aborted` (the
caller went away first). `authorization` is never shown.
"""

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: How many calls are remembered.
LIMIT = 200

RUNNING, FINISHED, ABORTED, REFUSED = "running", "finished", "aborted", "refused"


@dataclass(slots=True)
class Call:
    """One request as it arrived, its state, and how many event-stream frames have gone out.

    `path` is as it came, `model` the decoded identifier in it; `sent` are the headers, names in lower case.
    """

    id: str
    method: str
    path: str
    operation: str
    model: str | None
    sent: Mapping[str, str]
    body: Any = None
    state: str = RUNNING
    error: str | None = None
    frames: int = 0
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, state: str, error: str | None = None) -> None:
        """Set how it ended; the first word counts."""
        if self.state == RUNNING:
            self.state, self.error = state, error
            self._over.set()

    async def over(self) -> None:
        """Wait until it has ended."""
        await self._over.wait()

    def keep_body(self, body: bytes) -> None:
        """Remember what the body says: as a JSON value, as text where it is none, as None where it is empty."""
        try:
            self.body = json.loads(body) if body else None
        except ValueError:
            self.body = body.decode("utf-8", "replace")

    def as_json(self) -> dict[str, Any]:
        """Give it as `GET /_local/calls` shows it."""
        return {
            "id": self.id,
            "method": self.method,
            "path": self.path,
            "operation": self.operation,
            "model": self.model,
            "state": self.state,
            "error": self.error,
            "frames": self.frames,
            "headers": {name: value for name, value in self.sent.items() if name != "authorization"},
            "body": self.body,
        }


@dataclass(slots=True)
class CallLog:
    """The last `LIMIT` calls, oldest first."""

    _calls: deque[Call] = field(default_factory=lambda: deque(maxlen=LIMIT))

    def keep(self, call: Call) -> None:
        """Remember a call that has just arrived."""
        self._calls.append(call)

    def as_json(self) -> list[dict[str, Any]]:
        """Give all of them as JSON values."""
        return [call.as_json() for call in self._calls]

    async def settled(self) -> None:
        """Wait until every call that is remembered now has ended."""
        for call in tuple(self._calls):
            await call.over()

    def clear(self) -> None:
        """Forget all of them."""
        self._calls.clear()

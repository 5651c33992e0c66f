"""The log of the last calls: each request, and how it ended.

A call is `running` until it is `finished` (it got its response), `refused` (it got an AWS error) or `aborted` (the
caller left first). `authorization` is never shown, but for the access key id and the region in it.
"""

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bedrock_local.signature import access_key, region

#: Number of calls that the log keeps.
LIMIT = 200

RUNNING, FINISHED, ABORTED, REJECTED = "running", "finished", "aborted", "refused"


@dataclass(slots=True)
class Call:
    """A request as it arrived, its state, and the number of event-stream frames sent.

    `path` is as it came, `model` the decoded identifier in it; `sent` are the headers, names in lower case. `billed` is
    the usage that AWS bills, by its own names: all of it once the model has ended, whether the caller is still there or
    not, and of a stream what it has written so far.
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
    billed: dict[str, Any] = field(default_factory=dict)
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, state: str, error: str | None = None) -> None:
        """Set the final state; later calls change nothing."""
        if self.state == RUNNING:
            self.state, self.error = state, error
            self._over.set()

    async def over(self) -> None:
        """Wait until it has ended."""
        await self._over.wait()

    def keep_body(self, body: bytes) -> None:
        """Keep the body: as a JSON value, as text if it is not JSON, as None if it is empty."""
        try:
            self.body = json.loads(body) if body else None
        except ValueError:
            self.body = body.decode("utf-8", "replace")

    def as_json(self) -> dict[str, Any]:
        """Return the entry that `GET /_local/calls` shows."""
        return {
            "id": self.id,
            "method": self.method,
            "path": self.path,
            "operation": self.operation,
            "model": self.model,
            "state": self.state,
            "error": self.error,
            "frames": self.frames,
            "billed": self.billed,
            "access_key": access_key(self.sent),
            "region": region(self.sent),
            "headers": {name: value for name, value in self.sent.items() if name != "authorization"},
            "body": self.body,
        }


@dataclass(slots=True)
class CallLog:
    """The last `LIMIT` calls, oldest first."""

    _calls: deque[Call] = field(default_factory=lambda: deque(maxlen=LIMIT))

    def keep(self, call: Call) -> None:
        """Add a call that has just arrived."""
        self._calls.append(call)

    def as_json(self) -> list[dict[str, Any]]:
        """Return all calls as JSON values."""
        return [call.as_json() for call in self._calls]

    async def settled(self) -> None:
        """Wait until every call that is in the log now has ended."""
        for call in tuple(self._calls):
            await call.over()

    def clear(self) -> None:
        """Clear the log."""
        self._calls.clear()

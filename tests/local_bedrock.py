"""A local Bedrock as a test sees it: the calls that it has received, and the responses that it holds back."""

import json
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import prompts

DEADLINE = 30.0
"""Seconds after which what was waited for is not going to happen."""


@dataclass(frozen=True)
class LocalBedrock:
    """The calls that a local Bedrock has seen, and the release of the responses that it holds back."""

    url: str
    prompts: Path | None = None
    """The file that keeps the texts of calls that are forgotten (tests/prompts.py)."""

    def calls(self) -> list[dict[str, Any]]:
        """Return the calls since `forget`, oldest first, without those that the gateway makes by itself."""
        calls = json.loads(self._request("GET", "/_local/calls"))
        return [call for call in calls if call["operation"] in ("Converse", "ConverseStream", "InvokeModel")]

    def call(self) -> dict[str, Any]:
        """Return the one call that there was."""
        calls = self.calls()
        assert len(calls) == 1, calls
        return calls[0]

    def wait_for(self, *states: str) -> list[dict[str, Any]]:
        """Return the calls, once they are in these states, in whatever order they arrived."""
        end = time.monotonic() + DEADLINE
        while sorted(call["state"] for call in self.calls()) != sorted(states):
            assert time.monotonic() < end, f"the calls should be {states}, but they are {self.calls()}"
            time.sleep(0.02)
        return self.calls()

    def release(self) -> int:
        """Release all held responses, and return how many there were."""
        released: int = json.loads(self._request("POST", "/_local/release"))["released"]
        return released

    def forget(self) -> None:
        """Forget all calls; their texts are kept, if there is a file for them."""
        if self.prompts is not None:
            prompts.keep(self.prompts, self.calls())
        self._request("DELETE", "/_local/calls")

    def _request(self, method: str, path: str) -> bytes:
        request = urllib.request.Request(self.url + path, method=method)
        with urllib.request.urlopen(request, timeout=DEADLINE) as response:
            body: bytes = response.read()
        return body

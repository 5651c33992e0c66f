"""A call that is in flight until the test lets it end."""

from typing import Any

from openai import OpenAI

NOVA = "amazon.nova-micro-v1:0"
WHOLE = "1 2 3 4 5"
DEADLINE = 90.0


class HeldStream:
    """A streamed call whose response stops after its first token until the local Bedrock releases it."""

    def __init__(self, gateway: Any) -> None:
        client = OpenAI(base_url=gateway.url, api_key=gateway.tokens["ci"], max_retries=0, timeout=DEADLINE)
        question: Any = [{"role": "user", "content": "Count to 5. [[local: hold=1]]"}]
        self._stream = client.chat.completions.create(model=NOVA, messages=question, stream=True)
        self.text, self.finish = "", ""
        while not self.text:
            self._take(next(self._stream))

    def _take(self, chunk: Any) -> None:
        for choice in chunk.choices:
            self.text += choice.delta.content or ""
            self.finish = choice.finish_reason or self.finish

    def rest(self) -> str:
        """Return `whole` or `error`; an end that is neither is a failure."""
        try:
            for chunk in self._stream:
                self._take(chunk)
        except Exception:
            return "error"
        assert (self.text, self.finish) == (WHOLE, "stop"), "it ended as if it were whole"
        return "whole"

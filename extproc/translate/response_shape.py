"""How the client expects the answer: what its request turned into something else on the way to Bedrock."""

from collections.abc import Mapping

import msgspec


class ResponseShape(msgspec.Struct, frozen=True):
    """The default is an answer that goes back as it comes."""

    answer_tool: str | None = None
    """The tool, by Bedrock's name, whose input is the client's `content`."""
    names: Mapping[str, str] = {}
    """Bedrock's tool names and what the client calls them, only where the two differ."""
    custom: frozenset[str] = frozenset()
    """The client's names of custom tools: a call's `input` is its argument `input`, a text."""
    legacy: bool = False
    """Whether the client offered `functions`: a call goes back as `function_call`."""
    trace: bool = False
    """Whether the client asked what its guardrail did: Bedrock's `trace` goes back with the answer."""

    def client_name(self, bedrock_name: str) -> str:
        """What the client calls the tool that Bedrock knows by this name."""
        return self.names.get(bedrock_name, bedrock_name)

"""The shape of the response that the client expects, where the request changed on its way to Bedrock."""

from collections.abc import Mapping

import msgspec

from extproc.translate.renaming import Renamer, renamed


class ResponseShape(msgspec.Struct, frozen=True):
    """The changes that a response has to reverse; by default none."""

    answer_tool: str | None = None
    """The tool, by Bedrock's name, whose input is the client's `content`."""
    names: Mapping[str, str] = {}
    """The client's names of tools by Bedrock's, only where the two differ."""
    properties: Mapping[str, Mapping[str, str]] = {}
    """The client's names of properties by Bedrock's, by Bedrock's name of the tool, only where any differ."""
    custom: frozenset[str] = frozenset()
    """The client's names of custom tools: a call's `input` is its argument `input`, a text."""
    legacy: bool = False
    """Whether the client offered `functions`: a call goes back as `function_call`."""
    trace: bool = False
    """Whether the client requested the guardrail's trace: Bedrock's `trace` is a part of the response."""
    inline_reasoning: str | None = None
    """The tag in which the model writes reasoning into its text."""
    bare_json: bool = False
    """Whether JSON was requested in words: a code fence around it is not for the client."""
    params: Mapping[str, str] = {}
    """The client's names of fields that errors call by another (`fields.alternatives`)."""

    def client_name(self, bedrock_name: str) -> str:
        """Return the client's name of the tool that Bedrock knows as `bedrock_name`."""
        return self.names.get(bedrock_name, bedrock_name)

    def arguments(self, bedrock_name: str, text: str) -> str:
        """Return the arguments of a call with the client's names of properties."""
        names = self.properties.get(bedrock_name)
        return renamed(text, names) if names else text

    def renamer(self, bedrock_name: str) -> Renamer | None:
        """Return what puts back the client's names of properties in a tool's arguments, if any differ."""
        names = self.properties.get(bedrock_name)
        return Renamer(names) if names else None

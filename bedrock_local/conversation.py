"""A Converse request as the rules and the answers read it: turns, blocks and where they stand.

`request` has passed `shapes.check`, so every key here exists with its type, unions have one member, and blobs are
bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bedrock_local.models import Model


@dataclass(frozen=True, slots=True)
class Block:
    """One content block: its place in the request, whose turn it is in, its kind (the union's member) and value."""

    turn: int
    index: int
    role: str
    kind: str
    value: Any

    @property
    def path(self) -> str:
        """Its place as AWS's messages write it."""
        return f"messages.{self.turn}.content.{self.index}"


@dataclass(frozen=True, slots=True)
class Conversation:
    """A validated request to one model; `streaming` tells ConverseStream from Converse."""

    request: dict[str, Any]
    model: Model
    streaming: bool

    @property
    def messages(self) -> list[dict[str, Any]]:
        """All turns."""
        messages: list[dict[str, Any]] = self.request.get("messages", [])
        return messages

    @property
    def inference(self) -> dict[str, Any]:
        """The inferenceConfig, empty where there is none."""
        config: dict[str, Any] = self.request.get("inferenceConfig", {})
        return config

    @property
    def extra(self) -> dict[str, Any]:
        """The additionalModelRequestFields, empty where there are none (or where they are no object)."""
        fields = self.request.get("additionalModelRequestFields")
        return fields if isinstance(fields, dict) else {}

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The offered tools that are functions, as their toolSpec."""
        offered = self.request.get("toolConfig", {}).get("tools", [])
        return [tool["toolSpec"] for tool in offered if "toolSpec" in tool]

    @property
    def tool_choice(self) -> tuple[str, Any]:
        """The member of toolChoice and its value; `auto` where none is said."""
        choice: dict[str, Any] = self.request.get("toolConfig", {}).get("toolChoice", {"auto": {}})
        return next(iter(choice.items()))

    def turn(self, number: int) -> list[Block]:
        """The blocks of one turn."""
        message = self.messages[number]
        return [
            Block(number, index, message["role"], *next(iter(content.items())))
            for index, content in enumerate(message["content"])
        ]

    def blocks(self, *kinds: str) -> Iterator[Block]:
        """Walk through the blocks of all turns, of these kinds or of all."""
        for number in range(len(self.messages)):
            for block in self.turn(number):
                if not kinds or block.kind in kinds:
                    yield block

    def last_user_turn(self) -> list[Block]:
        """The blocks of the last turn of the user; empty where there is none."""
        for number in reversed(range(len(self.messages))):
            if self.messages[number]["role"] == "user":
                return self.turn(number)
        return []

    def last_text(self) -> str:
        """What the user said last: the text blocks of their last turn, one after the other."""
        return " ".join(block.value for block in self.last_user_turn() if block.kind == "text")

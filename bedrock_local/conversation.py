"""A Converse request as the rules and the answers read it: turns, blocks and where they stand.

`request` has passed `shapes.check`, so every key here exists with its type, unions have one member, and blobs are
bytes. Only what is free JSON (`extra`) may hold anything.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bedrock_local.families import Family
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
    """A validated request to one model of a family; `streaming` tells ConverseStream from Converse."""

    request: dict[str, Any]
    model: Model
    family: Family
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
    def limit(self) -> int:
        """How many tokens the answer may have: what was said, or the family's default, or what the model can say."""
        limit: int = self.inference.get("maxTokens", self.family.default_tokens or self.model.max_tokens)
        return limit

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
    def own_tool_choice(self) -> dict[str, Any]:
        """Claude's own tool_choice among the extra fields, empty where there is none."""
        choice = self.extra.get("tool_choice")
        return choice if isinstance(choice, dict) else {}

    @property
    def tool_choice(self) -> tuple[str, Any]:
        """What is said of the tools, and its value: a member of toolChoice, or Claude's `none`; else `auto`."""
        own = self.own_tool_choice
        said = {own["type"]: own} if isinstance(own.get("type"), str) else {"auto": {}}
        choice: dict[str, Any] = self.request.get("toolConfig", {}).get("toolChoice", said)
        return next(iter(choice.items()))

    @property
    def forced(self) -> bool:
        """Whether a tool must be called."""
        return self.tool_choice[0] in ("any", "tool")

    def at(self, path: tuple[str, ...]) -> Any:
        """What stands at a path of keys from the request's root; None where there is nothing."""
        found: Any = self.request
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return found if path else None

    def turn(self, number: int) -> list[Block]:
        """The blocks of one turn."""
        message = self.messages[number]
        return [
            Block(number % len(self.messages), index, message["role"], *next(iter(content.items())))
            for index, content in enumerate(message["content"])
        ]

    def turns(self) -> Iterator[list[Block]]:
        """Walk through the turns, each as its blocks."""
        return map(self.turn, range(len(self.messages)))

    def blocks(self, *kinds: str) -> Iterator[Block]:
        """Walk through the blocks of all turns, of these kinds or of all."""
        for turn in self.turns():
            for block in turn:
                if not kinds or block.kind in kinds:
                    yield block

    def results(self) -> list[Block]:
        """The results that have come since the model spoke last."""
        return [block for block in self.turn(-1) if block.kind == "toolResult"]

    def called(self) -> set[str]:
        """The names of the tools that were called since the user last asked something: a turn with results is none."""
        called: set[str] = set()
        for turn in reversed(list(self.turns())):
            kinds = {(block.role, block.kind) for block in turn}
            if ("user", "text") in kinds and ("user", "toolResult") not in kinds:
                break
            called |= {block.value["name"] for block in turn if block.kind == "toolUse"}
        return called

    def last_user_turn(self) -> list[Block]:
        """The blocks of the last turn of the user; empty where there is none."""
        for number in reversed(range(len(self.messages))):
            if self.messages[number]["role"] == "user":
                return self.turn(number)
        return []

    def last_text(self) -> str:
        """What the user said last: the texts of their last turn, guarded ones too, one after the other."""
        return " ".join(text for block in self.last_user_turn() if (text := _text(block)))

    def guarded_text(self) -> str:
        """What a guardrail reads of it: what is marked for it, or else all."""
        marked = [block for block in self.last_user_turn() if block.kind == "guardContent"]
        return " ".join(map(_text, marked)) if marked else self.last_text()


def _text(block: Block) -> str:
    """The text of a block that is one, guarded or not; empty for any other."""
    text = block.value.get("text", {}).get("text", "") if block.kind == "guardContent" else block.value
    return str(text) if block.kind in ("text", "guardContent") else ""

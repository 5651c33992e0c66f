"""A Converse request for the rules and completions: turns, blocks, and their paths.

`request` has passed `shapes.check`: every key is of its type, unions have one member, and blobs are bytes. Only free
JSON (`extra`) may contain anything.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bedrock_local.families import Family
from bedrock_local.models import Model


@dataclass(frozen=True, slots=True)
class Block:
    """A content block: its place in the request, the role of its turn, its kind (the union's member) and value."""

    turn: int
    index: int
    role: str
    kind: str
    value: Any

    @property
    def path(self) -> str:
        """Return its path as AWS's messages write it."""
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
        """Return all turns."""
        messages: list[dict[str, Any]] = self.request.get("messages", [])
        return messages

    @property
    def inference(self) -> dict[str, Any]:
        """Return the inferenceConfig, empty if there is none."""
        config: dict[str, Any] = self.request.get("inferenceConfig", {})
        return config

    @property
    def limit(self) -> int:
        """Return the most tokens of the response: maxTokens, else the family's default, else the model's limit."""
        limit: int = self.inference.get("maxTokens", self.family.default_tokens or self.model.max_tokens)
        return limit

    @property
    def extra(self) -> dict[str, Any]:
        """Return the additionalModelRequestFields, empty if there are none (or if they are no object)."""
        fields = self.request.get("additionalModelRequestFields")
        return fields if isinstance(fields, dict) else {}

    @property
    def tools(self) -> list[dict[str, Any]]:
        """Return the toolSpec of each tool that is a function."""
        tools = self.request.get("toolConfig", {}).get("tools", [])
        return [tool["toolSpec"] for tool in tools if "toolSpec" in tool]

    @property
    def system_tools(self) -> list[str]:
        """Return the names of the tools that AWS itself executes."""
        tools = self.request.get("toolConfig", {}).get("tools", [])
        return [tool["systemTool"]["name"] for tool in tools if "systemTool" in tool]

    @property
    def own_tool_choice(self) -> dict[str, Any]:
        """Return Claude's own tool_choice among the extra fields, empty if there is none."""
        choice = self.extra.get("tool_choice")
        return choice if isinstance(choice, dict) else {}

    @property
    def tool_choice(self) -> tuple[str, Any]:
        """Return the kind of tool choice and its value: a member of toolChoice, or Claude's `none`; else `auto`."""
        own = self.own_tool_choice
        default = {own["type"]: own} if isinstance(own.get("type"), str) else {"auto": {}}
        choice: dict[str, Any] = self.request.get("toolConfig", {}).get("toolChoice", default)
        return next(iter(choice.items()))

    @property
    def forced(self) -> bool:
        """Return whether a tool must be called."""
        return self.tool_choice[0] in ("any", "tool")

    def at(self, path: tuple[str, ...]) -> Any:
        """Return the value at a path of keys from the request's root, or None."""
        value: Any = self.request
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value if path else None

    def turn(self, number: int) -> list[Block]:
        """Return the blocks of one turn."""
        message = self.messages[number]
        return [
            Block(number % len(self.messages), index, message["role"], *next(iter(content.items())))
            for index, content in enumerate(message["content"])
        ]

    def turns(self) -> Iterator[list[Block]]:
        """Iterate over the turns, each a list of blocks."""
        return map(self.turn, range(len(self.messages)))

    def blocks(self, *kinds: str) -> Iterator[Block]:
        """Iterate over the blocks of all turns, of these kinds or of all."""
        for turn in self.turns():
            for block in turn:
                if not kinds or block.kind in kinds:
                    yield block

    def results(self) -> list[Block]:
        """Return the tool results of the last turn; an instruction may follow them."""
        last = self.turn(-2 if self.messages[-1]["role"] == "system" else -1)
        return [block for block in last if block.kind == "toolResult"]

    def called(self) -> set[str]:
        """Return the names of the tools called since the user's last question; a turn with results is no question."""
        called: set[str] = set()
        for turn in reversed(list(self.turns())):
            kinds = {(block.role, block.kind) for block in turn}
            if ("user", "text") in kinds and ("user", "toolResult") not in kinds:
                break
            called |= {block.value["name"] for block in turn if block.kind == "toolUse"}
        return called

    def last_user_turn(self) -> list[Block]:
        """Return the blocks of the user's last turn, empty if there is none."""
        for number in reversed(range(len(self.messages))):
            if self.messages[number]["role"] == "user":
                return self.turn(number)
        return []

    def last_text(self) -> str:
        """Return the texts of the user's last turn, guarded ones too, joined by blanks."""
        return " ".join(text for block in self.last_user_turn() if (text := _text(block)))

    def guarded_text(self) -> str:
        """Return the text that a guardrail reads: the parts marked for it, or else all."""
        marked = [block for block in self.last_user_turn() if block.kind == "guardContent"]
        return " ".join(map(_text, marked)) if marked else self.last_text()


def _text(block: Block) -> str:
    """Return the text of a text block, guarded or not; empty for other blocks."""
    text = block.value.get("text", {}).get("text", "") if block.kind == "guardContent" else block.value
    return str(text) if block.kind in ("text", "guardContent") else ""

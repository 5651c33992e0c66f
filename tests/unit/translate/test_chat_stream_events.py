"""`ChatStream` by itself: events in, chunks out, without any bytes."""

import pytest

from extproc.bedrock.converse_answer import (
    BlockDelta,
    BlockStart,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    MessageStart,
    MessageStop,
    Metadata,
    TokenUsage,
    ToolUseDelta,
    ToolUseStart,
)
from extproc.bedrock.converse_stream import Event, StreamDefect, StreamException
from extproc.bedrock.errors import BedrockError
from extproc.openai.chunks import (
    Chunk,
    ContentChunk,
    FinishChunk,
    RoleChunk,
    ToolArgumentsChunk,
    ToolCallChunk,
    UsageChunk,
)
from extproc.openai.completion import Usage
from extproc.openai.errors import ApiError
from extproc.translate.chat_stream import ChatStream, State
from extproc.translate.shape import Shape

TEXT = ContentBlockDelta(0, BlockDelta(text="a"))
STOP = MessageStop("end_turn")
TOOL = ContentBlockStart(1, BlockStart(ToolUseStart("c1", "f")))


def test_a_text() -> None:
    stream = ChatStream()
    fed: list[list[Chunk]] = [stream.feed(event) for event in (MessageStart(), TEXT, TEXT, STOP)]
    assert fed == [[], [RoleChunk(), ContentChunk("a")], [ContentChunk("a")], []]
    assert stream.feed(Metadata(TokenUsage(3, 4))) == [FinishChunk("stop"), UsageChunk(Usage(3, 4))]
    assert (stream.end(), stream.state) == ([], State.WHOLE)


def test_a_tool_call_without_arguments() -> None:
    stream = ChatStream()
    stream.feed(MessageStart())
    assert stream.feed(TOOL) == [RoleChunk(), ToolCallChunk(0, "c1", "f")]
    assert stream.feed(ContentBlockStop(1)) == [ToolArgumentsChunk(0, "{}")]
    assert stream.feed(MessageStop("tool_use")) == []
    assert stream.end() == [FinishChunk("tool_calls")]


def test_the_answer_tools_input_is_content() -> None:
    stream = ChatStream(shape=Shape(answer_tool="f"))
    stream.feed(MessageStart())
    assert stream.feed(TOOL) == []
    delta = ContentBlockDelta(1, BlockDelta(tool_use=ToolUseDelta('{"x"')))
    assert stream.feed(delta) == [RoleChunk(), ContentChunk('{"x"')]


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (StreamException(BedrockError("ThrottlingException", "Slow down.")), 429),
        (StreamDefect("noise"), 502),
        (STOP, 502),
    ],
)
def test_a_failure_is_raised_and_final(event: Event, status: int) -> None:
    stream = ChatStream()
    with pytest.raises(ApiError) as failure:
        stream.feed(event)
    assert (failure.value.status, stream.state) == (status, State.FAILED)
    with pytest.raises(ApiError):
        stream.feed(MessageStart())
    with pytest.raises(ApiError):
        stream.end()

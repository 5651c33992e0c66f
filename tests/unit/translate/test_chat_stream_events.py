"""`ChatStream` by itself: events in, chunks out, without any bytes."""

import pytest

from extproc.bedrock.converse_response import (
    ContentBlockDelta,
    ContentBlockDeltaEvent,
    ContentBlockStart,
    ContentBlockStartEvent,
    ContentBlockStopEvent,
    ConverseStreamMetadataEvent,
    MessageStartEvent,
    MessageStopEvent,
    TokenUsage,
    ToolUseBlockDelta,
    ToolUseBlockStart,
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
from extproc.translate.response_shape import ResponseShape

TEXT = ContentBlockDeltaEvent(0, ContentBlockDelta(text="a"))
STOP = MessageStopEvent("end_turn")
TOOL = ContentBlockStartEvent(1, ContentBlockStart(ToolUseBlockStart("c1", "f")))


def test_a_text() -> None:
    stream = ChatStream()
    fed: list[list[Chunk]] = [stream.feed(event) for event in (MessageStartEvent(), TEXT, TEXT, STOP)]
    assert fed == [[], [RoleChunk(), ContentChunk("a")], [ContentChunk("a")], []]
    assert stream.feed(ConverseStreamMetadataEvent(TokenUsage(3, 4))) == [FinishChunk("stop"), UsageChunk(Usage(3, 4))]
    stream.end()
    assert stream.state is State.WHOLE


def test_a_tool_call_without_arguments() -> None:
    stream = ChatStream()
    stream.feed(MessageStartEvent())
    assert stream.feed(TOOL) == [RoleChunk(), ToolCallChunk(0, "c1", "f")]
    assert stream.feed(ContentBlockStopEvent(1)) == [ToolArgumentsChunk(0, "{}")]
    assert stream.feed(MessageStopEvent("tool_use")) == []
    assert stream.feed(ConverseStreamMetadataEvent())[0] == FinishChunk("tool_calls")


def test_the_answer_tools_input_is_content() -> None:
    stream = ChatStream(shape=ResponseShape(answer_tool="f"))
    stream.feed(MessageStartEvent())
    assert stream.feed(TOOL) == []
    delta = ContentBlockDeltaEvent(1, ContentBlockDelta(tool_use=ToolUseBlockDelta('{"x"')))
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
        stream.feed(MessageStartEvent())
    with pytest.raises(ApiError):
        stream.end()

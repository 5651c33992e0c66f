"""ConverseStream's texts, reasoning and citations as chunks, read back by the openai package's own stream."""

from functools import partial
from typing import Any

import pytest

from extproc.translate.response_shape import ResponseShape
from tests.unit.translate.stream_events import (
    END,
    START,
    USAGE,
    Final,
    StreamEvent,
    citation,
    close,
    piece,
    reasoning,
    stop,
    text,
    tool,
)


def cited(start: int, end: int, title: str, url: str) -> dict[str, Any]:
    span = {"start_index": start, "end_index": end, "title": title, "url": url}
    return {"type": "url_citation", "url_citation": span}


# Text


def test_text_is_streamed_piece_by_piece(play: Any) -> None:
    assert play.chunks(START, text("Hel"), text("lo"), close(), END, USAGE) == [
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1_790_000_000,
            "model": "m",
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        }
        for delta, finish in [
            ({"role": "assistant", "content": "", "refusal": None}, None),
            ({"content": "Hel"}, None),
            ({"content": "lo"}, None),
            ({}, "stop"),
        ]
    ]


def test_texts_of_several_blocks_follow_each_other(play: Any) -> None:
    assert play.deltas(START, text("a"), close(), text("b", 1), close(1), END) == [{"content": "a"}, {"content": "b"}]


@pytest.mark.parametrize("events", [text(""), ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {}})])
def test_a_piece_of_nothing_writes_nothing(events: StreamEvent, play: Any) -> None:
    assert play.deltas(START, events, END) == []


def test_reasoning_is_separate_from_content_and_returned_in_blocks(play: Any) -> None:
    events = [
        reasoning(text="Hm"),
        reasoning(text="."),
        reasoning(signature="s1"),
        reasoning(signature="s2"),
        close(),
        reasoning(1, redactedContent="eA=="),
        close(1),
        text("Hi", 2),
        close(2),
        reasoning(3, text="So."),
        close(3),
    ]
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": "s1s2"},
        {"type": "redacted_thinking", "data": "eA=="},
        {"type": "thinking", "thinking": "So."},
    ]
    assert play.deltas(START, *events, END) == [
        {"reasoning_content": "Hm"},
        {"reasoning_content": "."},
        {"content": "Hi"},
        {"reasoning_content": "So."},
        {"reasoning_content": "", "thinking_blocks": blocks},
    ]


def test_a_signature_without_text_is_kept(play: Any) -> None:
    """Reasoning may be withheld from the gateway and still be signed."""
    blocks = [{"type": "thinking", "thinking": "", "signature": "s"}]
    assert play.deltas(START, reasoning(signature="s"), close(), END) == [
        {"reasoning_content": "", "thinking_blocks": blocks}
    ]


@pytest.mark.parametrize("hidden", [reasoning(signature="s" * 400), reasoning(redactedContent="eA==" * 100)])
def test_reasoning_that_is_hidden_counts_in_what_the_model_has_written(hidden: StreamEvent, play: Any) -> None:
    """Else a client that leaves before the metadata pays for nothing of it."""
    stream = play.stream()
    stream.feed(play.encode([START, hidden]))
    assert stream.text_bytes == 400


@pytest.mark.parametrize(("words", "size"), [("abcd", 4), ("漢字", 6), ("é", 2), ("🙂", 4)])
def test_text_counts_by_its_bytes_in_what_the_model_has_written(words: str, size: int, play: Any) -> None:
    """A character of Chinese is most of a token, and a fourth of one if characters counted."""
    stream = play.stream()
    stream.feed(play.encode([START, text(words)]))
    assert stream.text_bytes == size


def test_reasoning_of_nothing_is_no_block(play: Any) -> None:
    events = [reasoning(text=""), reasoning(1, signature=""), reasoning(2, redactedContent=""), reasoning(3)]
    assert play.deltas(START, *events, END) == []


def test_withheld_reasoning_in_pieces_is_one_base64(play: Any) -> None:
    events = [reasoning(redactedContent="eA=="), reasoning(redactedContent="eXo="), close()]
    [delta] = play.deltas(START, *events, END)
    assert delta["thinking_blocks"] == [{"type": "redacted_thinking", "data": "eHl6"}]


def test_withheld_reasoning_that_is_no_base64_is_a_bad_response(play: Any) -> None:
    events = [reasoning(redactedContent="e"), reasoning(redactedContent="é")]
    assert play.failure(START, *events, END).error.code == "bad_upstream_answer"


def test_the_client_puts_reasoning_together(play: Any, final: Final) -> None:
    events = [reasoning(text="Hm"), reasoning(text="."), reasoning(signature="s"), close(), text("Hi", 1), close(1)]
    events += [reasoning(2, redactedContent="eA=="), close(2)]
    message: Any = final(play.written(START, *events, END, USAGE, usage=True)).choices[0].message
    assert (message.content, message.reasoning_content) == ("Hi", "Hm.")
    assert message.thinking_blocks == [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "redacted_thinking", "data": "eA=="},
    ]


# Reasoning and fences in the text

INLINE = ResponseShape(inline_reasoning="thinking")
BARE = ResponseShape(bare_json=True)


def test_reasoning_in_the_text_is_streamed_as_reasoning(play: Any) -> None:
    pieces = ["<thin", "king> I know", " this. </thi", "nking>\n", "Hel", "lo"]
    assert play.deltas(START, *map(text, pieces), close(), END, shape=INLINE) == [
        {"reasoning_content": " I know"},
        {"reasoning_content": " this. "},
        {"content": "Hel"},
        {"content": "lo"},
    ]


def test_reasoning_in_several_texts_and_calls_in_between(play: Any) -> None:
    events = [text("<thinking>a</thi"), text("nking>"), close(), tool(1), close(1), text("<thinking>b", 2)]
    reasoned, *calls, more = play.deltas(START, *events, stop("tool_use"), shape=INLINE)
    assert (reasoned, more) == ({"reasoning_content": "a"}, {"reasoning_content": "b"})
    assert [list(delta) for delta in calls] == [["tool_calls"], ["tool_calls"]]


@pytest.mark.parametrize("end", [[close()], []], ids=["closed", "not closed"])
def test_what_was_withheld_for_a_tag_comes_with_the_end_of_the_block(end: list[StreamEvent], play: Any) -> None:
    assert play.deltas(START, text("\n<think"), *end, END, shape=INLINE) == [{"content": "\n<think"}]
    events = [text("<thinking>a</think"), *end]
    assert play.deltas(START, *events, END, shape=INLINE) == [
        {"reasoning_content": "a"},
        {"reasoning_content": "</think"},
    ]


def test_reasoning_beside_the_answer_tool_is_streamed(play: Any) -> None:
    shape = ResponseShape(answer_tool="f", inline_reasoning="thinking")
    events = [text("<thinking>a</thinking>\nHere:"), close(), tool(1), piece("{}", 1), close(1)]
    assert play.deltas(START, *events, END, shape=shape) == [{"reasoning_content": "a"}, {"content": "{}"}]


def test_json_that_was_requested_in_words_is_streamed_without_a_fence(play: Any) -> None:
    pieces = ["``", '`json\n{"a": "', "x" * 20, '"}', "\n``", "`"]
    deltas = play.deltas(START, *map(text, pieces), close(), END, shape=BARE)
    assert "".join(delta["content"] for delta in deltas) == '{"a": "' + "x" * 20 + '"}'
    assert deltas[0]["content"].startswith('{"a": "x')


def test_annotations_are_places_in_the_content_that_is_left(play: Any) -> None:
    events = [text("```json\n[1"), close(), text("2", 1), citation(1, "https://x.org"), close(1), text("]\n```", 2)]
    *contents, last = play.deltas(START, *events, END, shape=BARE)
    assert "".join(delta["content"] for delta in contents) == "[12]"
    assert last == {"annotations": [cited(2, 3, "x.org", "https://x.org")]}


# Images


def drawing(block: int, **delta: Any) -> StreamEvent:
    return ("contentBlockDelta", {"contentBlockIndex": block, "delta": {"image": delta}})


def drawn(block: int, kind: str) -> StreamEvent:
    return ("contentBlockStart", {"contentBlockIndex": block, "start": {"image": {"format": kind}}})


def test_images_come_whole_in_one_chunk(play: Any, final: Final) -> None:
    events = [
        text("Here:"),
        close(),
        drawn(1, "jpeg"),
        drawing(1, source={"bytes": "eA=="}),
        drawing(1, source={"bytes": "eXo="}),
        close(1),
        drawing(2, source={"bytes": "eA=="}),
        close(2),
    ]
    images = [
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,eHl6"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}},
    ]
    assert play.deltas(START, *events, END) == [{"content": "Here:"}, {"images": images}]
    message: Any = final(play.written(START, *events, END, USAGE, usage=True)).choices[0].message
    assert (message.content, message.images) == ("Here:", images)


@pytest.mark.parametrize("delta", [{}, {"source": {}}, {"source": {"s3Location": {"uri": "s3://b/i"}}}, {"error": {}}])
def test_an_image_without_bytes_is_no_image(delta: dict[str, Any], play: Any) -> None:
    assert play.deltas(START, drawn(0, "png"), drawing(0, **delta), close(), END) == []


def test_an_image_that_is_no_base64_is_a_bad_response(play: Any) -> None:
    events = [drawing(0, source={"bytes": "e"}), drawing(0, source={"bytes": "é"})]
    assert play.failure(START, *events, END).error.code == "bad_upstream_answer"


# What is kept until the end


def test_images_of_a_message_are_limited_together(play: Any) -> None:
    part = "A" * ((1 << 20) - 64)
    events = [drawing(block, source={"bytes": part}) for block in range(8)]
    assert len(play.deltas(START, *events, END)[0]["images"]) == 8
    failure = play.failure(START, *events, drawing(8, source={"bytes": "AAAA"}))
    assert (failure.error.code, failure.error.status) == ("bad_upstream_answer", 502)
    assert "more than 8,388,608 bytes" in failure.error.message


def test_formats_of_images_are_limited(play: Any) -> None:
    events = [drawn(block, "p" * (1 << 20)) for block in range(9)]
    assert "more than 8,388,608 bytes" in play.failure(START, *events, END, USAGE).error.message
    assert "more than 8,388,608 bytes" in play.failure(START, *[drawn(0, "p" * (1 << 20))] * 9, END).error.message


@pytest.mark.parametrize("kind", ["text", "signature", "redactedContent"])
def test_reasoning_that_is_kept_is_limited(kind: str, play: Any) -> None:
    part = "A" * (1 << 20)
    failure = play.failure(START, *[reasoning(block % 2, **{kind: part}) for block in range(9)], END, USAGE)
    assert "more than 8,388,608 bytes" in failure.error.message


def test_a_custom_tools_input_is_limited(play: Any) -> None:
    events = [tool(0, "f"), *[piece("a" * (1 << 20), 0)] * 9]
    shape = ResponseShape(custom=frozenset({"f"}))
    assert "more than 8,388,608 bytes" in play.failure(START, *events, END, USAGE, shape=shape).error.message
    assert play.written(START, *events, END, USAGE)


def test_text_that_is_withheld_is_limited(play: Any) -> None:
    events = [text("a" * (1 << 20))] * 9
    shape = ResponseShape(answer_tool="json")
    assert "more than 8,388,608 bytes" in play.failure(START, *events, END, USAGE, shape=shape).error.message
    assert play.written(START, *events, END, USAGE)


def test_citations_are_limited(play: Any) -> None:
    events = [citation(0, "https://x.org", title="a" * (1 << 20))] * 9
    assert "more than 8,388,608 bytes" in play.failure(START, *events, END, USAGE).error.message
    events = [citation(0, None)] * 8_193
    assert "more than 8,192 citations" in play.failure(START, *events, END, USAGE).error.message


@pytest.mark.parametrize("begin", [partial(text, "a"), tool, reasoning])
def test_blocks_are_limited(begin: Any, play: Any) -> None:
    events = [begin(block=block) for block in range(4_097)]
    failure = play.failure(START, *events, END, USAGE)
    assert (failure.error.code, failure.error.status) == ("bad_upstream_answer", 502)
    assert "more than 4,096 content blocks" in failure.error.message
    assert play.written(START, *events[:-1], END, USAGE)


# Citations


def test_citations_of_the_web_are_annotations_of_their_blocks_text(play: Any) -> None:
    events = [
        text("Look: "),
        close(),
        text("😀 it", 1),
        citation(1, "https://x.org/a", title="A"),
        citation(1, None, title="a document"),
        text(" is so", 1),
        citation(1, "https://x.org/b"),
        close(1),
        text(".", 2),
        close(2),
    ]
    *contents, last = play.deltas(START, *events, END)
    assert "".join(delta["content"] for delta in contents) == "Look: 😀 it is so."
    completion = [cited(6, 16, "A", "https://x.org/a"), cited(6, 16, "x.org", "https://x.org/b")]
    assert last == {"annotations": completion}
    assert "".join(delta["content"] for delta in contents)[6:16] == "😀 it is so"


def test_citations_without_a_text_of_their_own_are_of_the_text_before_them(play: Any) -> None:
    events = [
        citation(0, "https://x.org/0"),
        text("No.", 1),
        text("It ", 2),
        text("is.", 2),
        text("", 3),
        citation(3, "https://x.org/a"),
        text(" So?", 4),
    ]
    *_, last = play.deltas(START, *events, END)
    spans = [each["url_citation"] for each in last["annotations"]]
    assert [(span["start_index"], span["end_index"]) for span in spans] == [(0, 0), (3, 9)]


def test_the_client_puts_annotations_together(play: Any, final: Final) -> None:
    events = [
        text("a"),
        citation(0, "https://x.org/a"),
        close(),
        text("b", 1),
        citation(1, "https://x.org/b"),
        close(1),
    ]
    message = final(play.written(START, *events, END, USAGE, usage=True)).choices[0].message
    assert message.annotations is not None
    assert [each.url_citation.url for each in message.annotations] == ["https://x.org/a", "https://x.org/b"]
    assert message.annotations[1].url_citation.start_index == 1


@pytest.mark.parametrize(
    "delta",
    [{"citation": {}}, {"citation": {"location": {}}}, {"citation": {"location": {"web": {}}, "title": "t"}}],
)
def test_a_citation_that_leads_nowhere_is_passed_over(delta: Any, play: Any) -> None:
    events = ("contentBlockDelta", {"contentBlockIndex": 0, "delta": delta})
    assert play.deltas(START, text("a"), events, close(), END) == [{"content": "a"}]


def test_the_client_puts_the_text_together(play: Any, final: Final) -> None:
    pieces = ["Hel", "lo \u2028", "w\u00f6rld\x85", " \U0001f600\r\n", '"\\', "data: [DONE]\n\n"]
    completion = final(play.written(START, *map(text, pieces), close(), END, USAGE, usage=True))
    assert completion.choices[0].message.content == "".join(pieces)
    assert completion.choices[0].message.role == "assistant"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.total_tokens == 30


# Unknown events


@pytest.mark.parametrize(
    "events",
    [
        ("contentBlockPause", {"anything": 1}),
        ("contentBlockStart", {"contentBlockIndex": 0, "start": {"image": {"format": "png"}}}),
        ("contentBlockStart", {"contentBlockIndex": 0, "start": {}}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"citation": {"title": "t"}}}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"hologram": {"a": [None]}}}),
        ("contentBlockStop", {"contentBlockIndex": 9}),
    ],
)
def test_events_and_blocks_that_are_not_known_are_passed_over(events: StreamEvent, play: Any) -> None:
    assert play.deltas(START, events, text("a"), events, END, USAGE) == [{"content": "a"}]

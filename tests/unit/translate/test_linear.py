"""Cost is linear in every size that a caller chooses: a request of twice the size takes about twice as long.

The CPU time of this thread is compared, not the clock's, and over four doublings: linear cost takes 16
times as long, quadratic cost 256 times. The limit lies between, at 64 times: the end of a CPU's cache or a
busy neighbour on the same core costs a factor of two or three, which must not fail a test. The other work of a machine
can only make a run slower, so the fastest of several counts.
"""

import gc
import time
from collections.abc import Callable, Iterator

import pytest

from bench.bodies import Shape
from bench.shapes import SHAPES
from extproc import cl100k_base
from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.capability_table import BUILT_IN
from extproc.bedrock.converse import TextContent
from extproc.openai import embeddings as openai_embeddings
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.openai.messages import CacheControl, FunctionCall, TextPart, ToolCall
from extproc.translate import fitting, grammar
from extproc.translate.cache import CacheMarks
from extproc.translate.chat_request import plan
from extproc.translate.embeddings import plan as embeddings_plan
from extproc.translate.ignored import Ignored
from extproc.translate.media import remote_images
from extproc.translate.names import bedrock_names
from extproc.translate.past_arguments import read_arguments
from extproc.translate.past_calls import PastCalls
from extproc.translate.pdf_pages import pages
from extproc.translate.tools import Tools, bedrock_id

TIMES = 16
GROWTH = TIMES**1.5
ROUNDS = 10
FAMILIES = {
    (
        family.schema_gaps,
        family.schema_root_keys,
        family.property_names,
        family.json_schema,
        family.tool_result_format,
        family.system_turns,
        family.text_beside_tool_calls,
        family.beside_tool_results,
        bool(family.cache),
        family.reasoning == "budget",
    ): name
    for name, family in BUILT_IN.families.items()
}
"""One family of each kind that is translated in a way of its own."""
EMBEDDING_MODELS = ("amazon.titan-embed-text-v2:0", "cohere.embed-v4:0")
CHATS = {name: shape for name, shape in SHAPES.items() if not shape.embeddings}
BY_FAMILY = [
    name for name in CHATS if name.startswith(("tool", "function", "mess", "think", "text", "image", "schema"))
]
"""Those that become something else for one family than for another; the rest is the same work for all."""
EMBEDDINGS = {name: shape for name, shape in SHAPES.items() if shape.embeddings}


@pytest.fixture(autouse=True, scope="module")
def without_garbage_collection() -> Iterator[None]:
    """Disable garbage collection, whose cost depends on the objects of all other tests."""
    gc.disable()
    yield
    gc.enable()


def chat(body: bytes, capabilities: Capabilities) -> str:
    try:
        request = decode_request(body)
        remote_images(request.messages)
        plan(request, capabilities)
    except ApiError as error:
        return str(error.code)
    return "accepted"


def embeddings(body: bytes, model: str) -> str:
    try:
        embeddings_plan(openai_embeddings.decode(body), model, cl100k_base.decode)
    except ApiError as error:
        return str(error.code)
    return "accepted"


def count(shape: Shape, size: int) -> int:
    """Return the number of items in a body of this size, of which `TIMES` as many are still accepted."""
    few, many = len(shape.write(64)), len(shape.write(128))
    length = max(2, size * 64 // (many - few))
    return length if shape.most is None else min(length, shape.most // TIMES)


def seconds(work: Callable[[bytes], str], body: bytes) -> float:
    for remembered in (grammar._remembered, fitting._remembered):
        remembered.cache_clear()
    start = time.thread_time()
    work(body)
    return time.thread_time() - start


def growth(work: Callable[[bytes], str], shape: Shape, size: int) -> float:
    """Return the ratio of the times of a body of `TIMES` the size and of `size`, by the fastest runs so far."""
    many = count(shape, size)
    small, large = shape.write(many), shape.write(TIMES * many)
    assert work(small) == work(large)
    least_small = least_large = float("inf")
    for _ in range(ROUNDS):
        least_small = min(least_small, *(seconds(work, small) for _ in range(4)))
        least_large = min(least_large, seconds(work, large))
        if least_large <= least_small * GROWTH:
            break
    return least_large / least_small


@pytest.mark.parametrize("family", FAMILIES.values())
@pytest.mark.parametrize("name", BY_FAMILY)
def test_a_chat_request_takes_time_in_proportion_to_its_size(name: str, family: str) -> None:
    capabilities = BUILT_IN.families[family]
    assert growth(lambda body: chat(body, capabilities), CHATS[name], 16_000) <= GROWTH


@pytest.mark.parametrize("name", CHATS)
def test_a_large_chat_request_takes_time_in_proportion_to_its_size(name: str) -> None:
    capabilities = BUILT_IN.of("anthropic.claude-sonnet-4-6")
    assert growth(lambda body: chat(body, capabilities), CHATS[name], 50_000) <= GROWTH


@pytest.mark.parametrize("model", EMBEDDING_MODELS)
@pytest.mark.parametrize("name", EMBEDDINGS)
def test_embeddings_take_time_in_proportion_to_their_size(name: str, model: str) -> None:
    cl100k_base.decode([1])
    assert growth(lambda body: embeddings(body, model), EMBEDDINGS[name], 12_000) <= GROWTH


def names(count: int) -> object:
    return bedrock_names(f"tool.{at}" for at in range(count))


def marks(count: int) -> object:
    """Return cache points on as many texts, of which all but the last few are removed again."""
    cache_marks, blocks = CacheMarks(BUILT_IN.of("anthropic.claude-sonnet-4-6"), (), Ignored()), list[object]()
    for _ in range(count):
        blocks.append(TextContent("a"))
        cache_marks.put(TextPart(text="a", cache_control=CacheControl()), "messages[].content[]", blocks, "messages")
    return cache_marks.finish([blocks])


def repeated_ids(count: int) -> object:
    """Return one id again and again, while every replacement for it is taken."""
    calls = PastCalls(BUILT_IN.of("anthropic.claude-sonnet-4-6"), Tools(), Ignored())
    function = FunctionCall("look")
    taken = [bedrock_id(f"a#{number}") for number in range(count, 2 * count + 1)]
    for call_id in (*taken, *["a"] * count):
        calls.call(ToolCall(call_id, function=function), "")
        calls.result(call_id, (), "")
    return calls


def cut_arguments(count: int) -> object:
    """Return what can be read of arguments that end within a long list, and of such within a long string."""
    return [read_arguments('{"a":[' + '{"b":1},' * count), read_arguments('{"a":1,"b":"' + '\\"x' * count)]


def chain(count: int) -> object:
    """Return definitions each of which refers to the next."""
    definitions = {str(at): {"$ref": f"#/$defs/{at + 1}"} for at in range(count)}
    return grammar._recursive({"items": {"$ref": "#/$defs/0"}, "$defs": definitions})


def files(count: int) -> object:
    """Return the pages of files that repeat what a PDF's pages are found by."""
    words = ("/Pages ", "/Pages endobj ", "/Type /Page", "/Pages/Kids[", "/Count 1", "/ObjStm stream\n", "/#41")
    return [pages(b"%PDF-1.5 /Pages " + word.encode() * (40 * count)) for word in words]


@pytest.mark.parametrize("work", [names, marks, repeated_ids, cut_arguments, chain, files])
def test_no_loop_is_quadratic_in_an_unlimited_size(work: Callable[[int], object]) -> None:
    few, many = 250, 250 * TIMES
    fastest = dict.fromkeys((few, many), float("inf"))
    for _ in range(ROUNDS):
        for count in fastest:
            start = time.thread_time()
            work(count)
            fastest[count] = min(fastest[count], time.thread_time() - start)
        if fastest[many] <= fastest[few] * GROWTH:
            return
    raise AssertionError(fastest)

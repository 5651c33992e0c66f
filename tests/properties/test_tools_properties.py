"""Tools and response formats over generated requests, for every family of models.

Any request becomes a body that botocore accepts, with names that map back, or one `ApiError`.
"""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from extproc.bedrock.capability_table import BUILT_IN
from extproc.bedrock.converse import ConverseMessage, ConverseRequest, OutputConfig, TextContent
from extproc.openai.chat import ChatRequest, decode_request
from extproc.openai.errors import ApiError
from extproc.translate.grammar import grammar
from extproc.translate.ignored import Ignored
from extproc.translate.names import bedrock_name, bedrock_names
from extproc.translate.schemas import Growth, inlined, without_lookaround
from extproc.translate.tools import Tools, plan_tools

Read = Callable[[bytes], dict[str, Any]]

# Schemas, mostly ones that mean something

scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from([1.5, 10**30, "a", "(?=a)", ""])
keywords = st.fixed_dictionaries(
    {},
    optional={
        "description": st.sampled_from(["D.", "", 5]),
        "pattern": st.sampled_from(["^a$", "(?!a)", r"\bb", 5]),
        "minimum": scalars,
        "minItems": st.integers(0, 2),
        "enum": st.lists(scalars, max_size=2) | scalars,
        "const": scalars | st.just([]),
        "format": st.sampled_from(["date", "phone", None]),
        "required": st.lists(st.sampled_from(["a", "b", "$ref"]), max_size=2),
        "additionalProperties": st.booleans(),
        "x-more": scalars,
        "$ref": st.sampled_from(
            ["#/$defs/A", "#/$defs/B", "#/definitions/C", "#", "#/$defs", "#/properties/a", "x", 5]
        ),
    },
)
kinds = st.sampled_from(["object", "array", "string", "integer", "null", "any", ["string", "null"], ["object"], [], 5])
leaves = st.one_of(st.booleans(), keywords, st.builds(lambda kind, rest: {"type": kind, **rest}, kinds, keywords))


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, max_size=2)
    named = st.dictionaries(st.sampled_from(["a", "b", "A", "B", "C", "$ref", "not"]), inner, max_size=2)
    structure = st.fixed_dictionaries(
        {},
        optional={
            "properties": named,
            "items": inner | several,
            "anyOf": several,
            "oneOf": several,
            "allOf": several,
            "not": inner,
            "$defs": named,
            "definitions": named,
            "additionalProperties": inner,
        },
    )
    return st.builds(lambda kind, rest, more: {"type": kind, **rest, **more}, kinds, keywords, structure)


schemas = st.recursive(leaves, nested, max_leaves=8)
objects = schemas.map(lambda schema: {**schema, "type": "object"} if isinstance(schema, dict) else {"type": "object"})

# Requests

texts = st.sampled_from(["", " ", "Does it.", "\n"]) | st.text(max_size=5)
names = st.sampled_from(["f", "g", "x" * 64, "x" * 65, "a.b", "a/b", "a_b", bedrock_name("a.b")]) | st.text(max_size=8)
marks = st.sampled_from([None, {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}])
functions = st.fixed_dictionaries(
    {"name": names},
    optional={"description": st.none() | texts, "parameters": objects, "strict": st.booleans(), "cache_control": marks},
)
grammars = st.builds(lambda text: {"type": "grammar", "grammar": {"syntax": "lark", "definition": text}}, texts)
customs = st.fixed_dictionaries(
    {"name": names}, optional={"description": texts, "format": grammars | st.just({"type": "text"})}
)
tool_lists = st.lists(
    st.one_of(
        st.builds(lambda body, mark: {"type": "function", "function": body, "cache_control": mark}, functions, marks),
        st.builds(lambda body, mark: {"type": "custom", "custom": body, "cache_control": mark}, customs, marks),
    ),
    max_size=4,
    unique_by=lambda tool: json.dumps(tool[str(tool["type"])]["name"]),
)


@st.composite
def choices(draw: st.DrawFn, tools: list[Any]) -> Any:
    """Draw a tool choice, mostly of existing tools."""
    references = [{"type": tool["type"], tool["type"]: {"name": tool[tool["type"]]["name"]}} for tool in tools]
    reference = st.sampled_from([*references, {"type": "function", "function": {"name": "absent"}}])
    allowed = st.builds(
        lambda mode, tools: {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}},
        st.sampled_from(["auto", "required"]),
        st.lists(reference, min_size=1, max_size=3),
    )
    return draw(st.sampled_from([None, "auto", "none", "required"]) | reference | allowed)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    wanted = st.builds(
        lambda name, schema, about, strict: {
            "type": "json_schema",
            "json_schema": {"name": name, "schema": schema, "description": about, "strict": strict},
        },
        names,
        st.none() | objects,
        st.none() | texts,
        st.none() | st.booleans(),
    )
    request: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    request["response_format"] = draw(st.sampled_from([None, {"type": "json_object"}]) | wanted)
    request["parallel_tool_calls"] = draw(st.none() | st.booleans())
    if draw(st.integers(0, 4)) == 0:
        request["functions"] = draw(
            st.lists(functions, max_size=3, unique_by=lambda function: json.dumps(function["name"]))
        )
        named = [{"name": function["name"]} for function in request["functions"]]
        request["function_call"] = draw(st.sampled_from([None, "auto", "none", *named]))
    else:
        request["tools"] = draw(st.none() | tool_lists)
        request["tool_choice"] = draw(choices(request["tools"] or []))
    return request


families = st.sampled_from(sorted(BUILT_IN.families)).map(BUILT_IN.families.__getitem__)


def outcome(chat_fields: dict[str, Any], *args: Any, **fields: Any) -> tuple[ChatRequest, Tools] | None:
    try:
        request = decode_request(json.dumps(chat_fields).encode())
        return request, plan_tools(request, *args, Ignored(), **fields)
    except ApiError as rejection:
        check_error(rejection)
        return None


def check_error(error: ApiError) -> None:
    assert error.status == 400
    assert error.message.strip()
    assert error.param


@given(requests(), families, st.booleans())
def test_any_tools_for_any_family_go_out_as_botocore_takes_them_or_are_a_400(
    read_converse: Read, chat_fields: dict[str, Any], family: Any, reasoning: bool
) -> None:
    prepared = outcome(chat_fields, family, reasoning=reasoning)
    if prepared is None:
        return
    request, sent = prepared
    body = ConverseRequest(
        messages=[ConverseMessage("user", [TextContent("Hi")])],
        system=[TextContent(sent.instruction)] if sent.instruction else UNSET,
        tool_config=sent.config or UNSET,
        output_config=OutputConfig(sent.output) if sent.output else UNSET,
        additional_model_request_fields=dict(sent.model_fields) or UNSET,
    )
    config = read_converse(body.encode()).get("toolConfig", {})
    specs = [entry["toolSpec"] for entry in config.get("tools", []) if "toolSpec" in entry]
    assert "toolSpec" in config.get("tools", [{"toolSpec": None}])[0]
    assert len({spec["name"] for spec in specs}) == len(specs)
    assert all(spec["inputSchema"]["json"]["type"] == "object" for spec in specs)
    assert len(config.get("tools", [])) - len(specs) <= family.cache_points
    check_names(request, sent, [spec["name"] for spec in specs])
    check_choice(config, family, [spec["name"] for spec in specs], reasoning=reasoning)


def check_names(request: ChatRequest, sent: Tools, specs: list[str]) -> None:
    """Check that each sent tool is the client's, or the answer tool, and has the client's name."""
    functions = [function.name for function in request.functions or ()]
    customs = {tool.custom.name for tool in request.tools or () if hasattr(tool, "custom")}
    names = [*functions, *customs, *(tool.function.name for tool in request.tools or () if hasattr(tool, "function"))]
    for name in specs:
        if name == sent.shape.answer_tool:
            assert name not in sent.shape.names
        else:
            client = sent.shape.client_name(name)
            assert client in names
            assert sent.bedrock_name(client) == name
            assert (client in sent.shape.custom) is (client in customs)


def check_choice(config: dict[str, Any], family: Any, names: list[str], *, reasoning: bool) -> None:
    """Check that the tool choice is one that the family accepts."""
    choice = config.get("toolChoice", {})
    assert set(choice) <= set(family.tool_choices)
    assert "tool" not in choice or choice["tool"]["name"] in names
    assert not choice or not reasoning or family.forced_tools_while_reasoning
    assert family.tools or not names


@given(st.lists(names, max_size=6, unique=True))
def test_different_names_become_different_names_in_any_order(names: list[str]) -> None:
    prepared = bedrock_names(names)
    assert len(set(prepared.values())) == len(names)
    assert bedrock_names(prepared.values()) == {name: name for name in prepared.values()}


@given(schemas)
def test_any_schema_is_a_grammar_that_needs_no_other_or_none(schema: Any) -> None:
    prepared = grammar(Raw(json.dumps(schema).encode()))
    if prepared is None:
        return
    again = grammar(prepared.schema)
    assert again is not None
    assert again.unchanged
    assert again.size == prepared.size


@given(objects)
def test_an_inlined_schema_has_no_references(schema: Any) -> None:
    once = inlined(schema, "p", Growth()).schema
    assert inlined(once, "p", Growth()) == (once, False)


@given(objects)
def test_look_around_is_described_once(schema: Any) -> None:
    once = without_lookaround(schema).schema
    assert without_lookaround(once) == (once, False)

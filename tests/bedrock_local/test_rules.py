"""Every rule refuses what it is there to refuse, over the wire, and lets the nearest valid request pass."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from bedrock_local import rules, shapes
from bedrock_local.conversation import Conversation
from bedrock_local.models import Shelf

CLAUDE = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
SONNET_46 = "us.anthropic.claude-sonnet-4-6"
OPUS_47 = "us.anthropic.claude-opus-4-7"
OPUS_48 = "us.anthropic.claude-opus-4-8"
SONNET_55 = "us.anthropic.claude-sonnet-5-5"
CLAUDE_3 = "anthropic.claude-3-haiku-20240307-v1:0"
NOVA = "amazon.nova-lite-v1:0"
MICRO = "amazon.nova-micro-v1:0"
LLAMA_3 = "meta.llama3-70b-instruct-v1:0"
LLAMA_4 = "us.meta.llama4-scout-17b-instruct-v1:0"
MISTRAL = "mistral.mistral-large-2402-v1:0"
QWEN = "qwen.qwen3-32b-v1:0"
GPT = "openai.gpt-oss-20b-1:0"

MODEL_SAYS = "The model returned the following errors: "


def b64(data):
    return base64.b64encode(data).decode()


def user(*content):
    return {"role": "user", "content": [{"text": c} if isinstance(c, str) else c for c in content]}


def assistant(*content):
    return {**user(*content), "role": "assistant"}


def use(identifier, name="f", **arguments):
    return {"toolUse": {"toolUseId": identifier, "name": name, "input": arguments}}


def result(identifier, *content):
    return {"toolResult": {"toolUseId": identifier, "content": list(content) or [{"text": "ok"}]}}


def image(data=b"\x89PNG\r\n\x1a\n", kind="png"):
    return {"image": {"format": kind, "source": {"bytes": b64(data)}}}


def document(name="A paper", data=b"text", kind="txt"):
    return {"document": {"name": name, "format": kind, "source": {"bytes": b64(data)}}}


def tool(name="f", schema=None):
    return {"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"} if schema is None else schema}}}


def tools(*offered, **choice):
    config = {"tools": list(offered) or [tool()]}
    return {"toolConfig": {**config, "toolChoice": choice} if choice else config}


def output(schema, **more):
    written = schema if isinstance(schema, str) else json.dumps(schema)
    text_format = {"type": "json_schema", "structure": {"jsonSchema": {"schema": written}}}
    return {"outputConfig": {"textFormat": text_format, **more}}


def extra(**fields):
    return {"additionalModelRequestFields": fields}


@dataclass
class Case:
    """A request that breaks one rule, what AWS says, and (if there is one) how the nearest valid request differs."""

    rule: str
    told: str
    messages: list[Any] = field(default_factory=lambda: [user("hello")])
    more: dict[str, Any] = field(default_factory=dict)
    model: str = NOVA

    @property
    def request(self):
        return {"messages": self.messages, **self.more}


ASKED = [user("go"), assistant(use("1"))]
PAIR = [user("go"), assistant(use("1"), use("2"))]
CLOSED = {"type": "object", "properties": {}, "additionalProperties": False}

REFUSED = [
    Case("has_messages", "The messages field is empty", []),
    Case("has_messages", "only supported when modelId is the ARN of a prompt", more={"promptVariables": {"a": {"text": "b"}}}),
    Case("no_empty_turn", "The content field in the Message object at messages.0 is empty.", [user()]),
    Case("system_turns", "doesn't support the system role", [user("a"), {"role": "system", "content": [{"text": "b"}]}]),
    Case("system_turns", "doesn't support the system role", [user("a"), {"role": "system", "content": [{"text": "b"}]}], model=OPUS_47),
    Case("starts_with_user", "A conversation must start with a user message.", [assistant("a"), user("b")]),
    Case("alternates", "A conversation must alternate between user and assistant roles.", [user("a"), user("b")]),
    Case("alternates", "A conversation must alternate", [user("a"), assistant("b"), assistant("c"), user("d")]),
    Case(
        "no_blank_text",
        "The text field in the ContentBlock object at messages.0.content.1 is blank. Add text to the text field, and try again.",
        [user("a", " \n")],
    ),
    Case("no_blank_text", "The text field in the SystemContentBlock object at system.0 is blank.", more={"system": [{"text": " "}]}),
    Case("no_blank_text", "object at messages.2.content.0.toolResult.content.0 is blank", [*ASKED, user(result("1", {"text": ""}))], tools()),
    Case("blocks_fit_roles", "The image block at messages.1.content.0 is not supported", [user("a"), assistant(image()), user("b")]),
    Case("blocks_fit_roles", "The toolUse block at messages.0.content.0 is not supported", [user(use("1"))], tools()),
    Case("blocks_fit_roles", "The toolResult block at messages.1", [user("a"), assistant(result("1"))], tools()),
    Case("blocks_fit_roles", "The toolAddition block", [user({"toolAddition": {"tool": {"name": "a"}}})], model=OPUS_48),
    Case("no_prefill", "does not support assistant message prefill", [user("a"), assistant("b")], model=SONNET_46),
    Case("prefill_ends_in_text", "final assistant content cannot end with trailing whitespace", [user("a"), assistant("b ")], model=CLAUDE),
    Case("model_takes_tools", "This model doesn't support tool use.", more=tools(), model=LLAMA_3),
    Case(
        "history_needs_config",
        "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
        [*ASKED, user(result("1"))],
    ),
    Case("no_server_tools", "toolConfig.tools.1", more=tools(tool(), {"systemTool": {"name": "nova_grounding"}})),
    Case("names_are_unique", "contains duplicate tool names: f.", more=tools(tool(), tool("g"), tool())),
    Case("schemas_are_objects", "toolConfig.tools.0.toolSpec.inputSchema.json.type must be one of the following: object.", more=tools(tool(schema={}))),
    Case("schemas_are_objects", "Provide a json object for the field and try again.", more=tools(tool(schema=[]))),
    Case(
        "schemas_are_schemas",
        MODEL_SAYS + "tools.0.custom.input_schema.properties.a.type: JSON schema is invalid.",
        more=tools(tool(schema={"type": "object", "properties": {"a": {"type": "text"}}})),
    ),
    Case("choice_is_supported", "This model doesn't support the toolConfig.toolChoice.any field.", more=tools(any={}), model=LLAMA_4),
    Case("choice_is_supported", "doesn't support the toolConfig.toolChoice.auto field.", more=tools(auto={}), model=MISTRAL),
    Case("choice_is_supported", "doesn't support the toolConfig.toolChoice.tool field.", more=tools(tool={"name": "f"}), model=SONNET_55),
    Case("choice_is_offered", "The tool g at toolConfig.toolChoice.tool.name is not in toolConfig.tools.", more=tools(tool={"name": "g"})),
    Case("choice_is_offered", "toolConfig.toolChoice.any field needs a tool", more=tools({"cachePoint": {"type": "default"}}, any={})),
    Case(
        "choice_is_said_once",
        "The additional field tool_choice conflicts with an existing field",
        more={**tools(auto={}), **extra(tool_choice={"type": "auto", "disable_parallel_tool_use": True})},
        model=CLAUDE,
    ),
    Case(
        "values_are_objects",
        "The format of the value at messages.1.content.0.toolUse.input is invalid.",
        [user("a"), assistant({"toolUse": {"toolUseId": "1", "name": "f", "input": "{}"}}), user(result("1"))],
        tools(),
    ),
    Case("values_are_objects", "at messages.2.content.0.toolResult.content.0.json is invalid", [*ASKED, user(result("1", {"json": [1]}))], tools()),
    Case("calls_have_own_ids", "The toolUse blocks at messages.1.content contain duplicate Ids: 1", [user("a"), assistant(use("1"), use("1")), user(result("1"))], tools()),
    Case(
        "calls_have_own_ids",
        MODEL_SAYS + "messages.3.content.0: `tool_use` ids must be unique",
        [*ASKED, user(result("1")), assistant(use("1")), user(result("1"))],
        tools(),
    ),
    Case("results_answer_calls", "Expected toolResult blocks at messages.2.content for the following Ids: 2", [*PAIR, user(result("1"))], tools()),
    Case("results_answer_calls", "Expected toolResult blocks at messages.2.content for the following Ids: 1, 2", [*PAIR, user("well?")], tools()),
    Case("results_answer_calls", "for the following Ids: 1", [*ASKED, user(result("2"))], tools()),
    Case("results_answer_calls", "Expected toolResult blocks at messages.2.content for the following Ids: 1", ASKED, tools(), CLAUDE),
    Case("results_answer_calls", "The number of toolResult blocks at messages.2.content exceeds", [*ASKED, user(result("1"), result("2"))], tools()),
    Case("results_answer_calls", "The number of toolResult blocks at messages.0.content exceeds", [user(result("1"))], tools()),
    Case("results_answer_calls", "at messages.2.content contain duplicate Ids: 1", [*PAIR, user(result("1"), result("1"))], tools()),
    Case("results_come_first", "messages.2.content.1: `tool_result` blocks must come before", [*ASKED, user("here:", result("1"))], tools()),
    Case("model_takes_them", "This model doesn't support the image field that you provided at messages.0.content.1.", [user("a", image())], model=MICRO),
    Case("model_takes_them", "doesn't support the image field", [*ASKED, user({"toolResult": {"toolUseId": "1", "content": [image()]}})], tools(), QWEN),
    Case("model_takes_them", "doesn't support the document field", [user("a", document())], model=GPT),
    Case("model_takes_them", "doesn't support the audio field", [user("a", {"audio": {"format": "mp3", "source": {"bytes": "AAAA"}}})]),
    Case("model_takes_them", "doesn't support the video field", [user("a", {"video": {"format": "mp4", "source": {"bytes": "AAAA"}}})], model=CLAUDE),
    Case("model_takes_them", "doesn't support the s3Location field", [user("a", {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://abc/d"}}}})], model=CLAUDE),
    Case("images_have_bytes", "The error field at messages.0.content.1", [user("a", {"image": {**image()["image"], "error": {"message": "x"}}})]),
    Case("number_and_size", "The number of image blocks (21) exceeds the maximum of 20", [user(*[image()] * 21)]),
    Case("number_and_size", "The number of document blocks (6) exceeds the maximum of 5", [user("a", *[document(f"d{n}") for n in range(6)])]),
    Case("number_and_size", "has 3750001 bytes, which exceeds the maximum of 3750000", [user(image(b"\x89PNG\r\n\x1a\n".ljust(3_750_001)))]),
    Case("bytes_are_of_the_format", "Image does not match the provided media type image/jpeg", [user(image(kind="jpeg"))]),
    Case("bytes_are_of_the_format", "image/webp", [user(image(b"RIFF1234WAVE", "webp"))]),
    Case("bytes_are_of_the_format", "image/gif", [user(image(b"GIF88a", "gif"))]),
    Case("bytes_are_of_the_format", "document/pdf", [user("a", document(data=b"hello", kind="pdf"))]),
    Case("document_names", "can only contain alphanumeric characters", [user("a", document("a.txt"))]),
    Case("document_names", "can't contain more than one consecutive whitespace", [user("a", document("a  b"))]),
    Case("document_names", "must be unique: b appears 2 times", [user("a", document("b"), document("b"))]),
    Case("documents_need_text", "A text block is required beside the document blocks at messages.0.content.", [user(document())]),
    Case("sampling", MODEL_SAYS + "`temperature` and `top_p` cannot both be specified", more={"inferenceConfig": {"temperature": 0.5, "topP": 0.5}}, model=CLAUDE),
    Case("sampling", MODEL_SAYS + "`temperature` is deprecated for this model.", more={"inferenceConfig": {"temperature": 1}}, model=OPUS_47),
    Case("sampling", MODEL_SAYS + "`top_p` is deprecated for this model.", more={"inferenceConfig": {"topP": 1}}, model=OPUS_47),
    Case("answer_length", "The maximum tokens you requested exceeds the model limit of 10000.", more={"inferenceConfig": {"maxTokens": 10_001}}),
    Case("stop_sequences", "each stop sequence must contain non-whitespace", more={"inferenceConfig": {"stopSequences": ["\n"]}}, model=CLAUDE),
    Case("cache_points", "This model doesn't support the cachePoint field.", [user("a", {"cachePoint": {"type": "default"}})], model=GPT),
    Case("cache_points", "A maximum of 4 cachePoint blocks may be provided. Found 5.", more={"system": [{"text": "a"}, *[{"cachePoint": {"type": "default"}}] * 5]}),
    Case("extra_fields", "The format of the additionalModelRequestFields field is invalid.", more={"additionalModelRequestFields": [1]}),
    Case("extra_fields", "#: extraneous key [top_k] is not permitted", more=extra(top_k=1)),
    Case("extra_fields", "#: extraneous key [thinking] is not permitted", more=extra(thinking={}), model=CLAUDE_3),
    Case("thinking", "Thinking may not be enabled when tool_choice forces tool use.", more={**tools(any={}), **extra(thinking={"type": "adaptive"})}, model=SONNET_46),
    Case("thinking", "Input should be greater than or equal to 1024", more=extra(thinking={"type": "enabled", "budget_tokens": 1023}), model=CLAUDE),
    Case(
        "thinking",
        "`max_tokens` must be greater than `thinking.budget_tokens`.",
        more={**extra(thinking={"type": "enabled", "budget_tokens": 2048}), "inferenceConfig": {"maxTokens": 2048}},
        model=CLAUDE,
    ),
    Case(
        "thinking",
        "`temperature` may only be set to 1 when thinking is enabled.",
        more={**extra(thinking={"type": "enabled", "budget_tokens": 2048}), "inferenceConfig": {"temperature": 0.5}},
        model=CLAUDE,
    ),
    Case("effort", "This model doesn't support the outputConfig.effort field.", more={"outputConfig": {"effort": "low"}}, model=CLAUDE),
    Case("effort", "must be one of the following: low, medium, high, xhigh, max.", more={"outputConfig": {"effort": "little"}}, model=SONNET_46),
    Case("structured_output", "This model doesn't support the outputConfig.textFormat field.", more=output(CLOSED)),
    Case("structured_output", "doesn't support the outputConfig.textFormat field.", more=output(CLOSED), model=OPUS_47),
    Case("structured_output", "must be a JSON object in a string.", more=output("{"), model=CLAUDE),
    Case("structured_output", "must be a JSON object in a string.", more=output("[]"), model=CLAUDE),
    Case("structured_output", "'additionalProperties' must be explicitly set to false (at schema)", more=output({"type": "object"}), model=CLAUDE),
    Case(
        "structured_output",
        "(at schema.$defs.A.items)",
        more=output({**CLOSED, "$defs": {"A": {"type": "array", "items": {"type": ["object", "null"]}}}}),
        model=CLAUDE,
    ),
    Case("structured_output", "(at schema.anyOf.1)", more=output({"anyOf": [CLOSED, {"type": "object"}]}), model=CLAUDE),
    Case("structured_output", "schema.required: Invalid JSON schema.", more=output({**CLOSED, "required": True}), model=CLAUDE),
    Case("question_length", "Input is too long for requested model.", [user("a " * 32_001)], model=MISTRAL),
]  # fmt: skip

ACCEPTED = [
    Case("system_turns", "", [user("a"), {"role": "system", "content": [{"text": "b"}]}, assistant("c"), user("d")], model=OPUS_48),
    Case("starts_with_user", "", [assistant("a"), user("b")], model=CLAUDE),
    Case("no_prefill", "", [user("a"), assistant("b")], model=CLAUDE),
    Case("history_needs_config", "", [*ASKED, user(result("1"))], tools()),
    Case("choice_is_supported", "", more=tools(auto={}), model=SONNET_55),
    Case("choice_is_said_once", "", more={**tools(auto={}), **extra(tool_choice={"disable_parallel_tool_use": True})}, model=CLAUDE),
    Case("results_answer_calls", "", [*PAIR, user(result("2"), result("1"), "and?")], tools()),
    Case("calls_have_own_ids", "", [*ASKED, user(result("1")), assistant(use("2")), user(result("2"))], tools()),
    Case("results_come_first", "", [*ASKED, user(result("1"), "well?", image())], tools()),
    Case("model_takes_them", "", [user("a", {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://abc/d"}}}})]),
    Case("number_and_size", "", [user(*[image()] * 20)]),
    Case("bytes_are_of_the_format", "", [user(image(b"\xff\xd8\xff\xe0", "jpeg"), image(b"GIF89a", "gif"), image(b"RIFF1234WEBP", "webp"))]),
    Case("document_names", "", [user("a", document("A b-(c) [2]"), document("other"))]),
    Case("sampling", "", more={"inferenceConfig": {"temperature": 0.5, "topP": 0.5}}),
    Case("sampling", "", more={"inferenceConfig": {"temperature": 0.5}}, model=CLAUDE),
    Case("answer_length", "", more={"inferenceConfig": {"maxTokens": 10_000}}),
    Case("stop_sequences", "", more={"inferenceConfig": {"stopSequences": ["\n"]}}),
    Case("cache_points", "", [user("a", {"cachePoint": {"type": "default", "ttl": "1h"}})], model=CLAUDE),
    Case("extra_fields", "", more=extra(top_k=1), model=CLAUDE),
    Case("extra_fields", "", more=extra(anything=1), model=LLAMA_4),
    Case("thinking", "", more=extra(thinking={"type": "enabled", "budget_tokens": 1024}), model=CLAUDE),
    Case("thinking", "", more={**tools(any={}), **extra(thinking={"type": "disabled"})}, model=CLAUDE),
    Case("effort", "", more={"outputConfig": {"effort": "high"}}, model=SONNET_46),
    Case("structured_output", "", more=output({**CLOSED, "properties": {"type": {"type": "string", "enum": [{"type": "object"}]}}}), model=CLAUDE),
    Case("question_length", "", [user("a " * 31_000)], model=MISTRAL),
]  # fmt: skip


def first_to_refuse(case):
    """The name of the rule that complains first, in this process."""
    request = shapes.check("Converse", case.request, modelId=case.model)
    conversation = Conversation(request, Shelf("us-east-1").resolve(case.model), streaming=False)
    return next((rule.__name__ for rule in rules.RULES if any(rule(conversation))), None)


def test_every_rule_has_a_case():
    assert {case.rule for case in REFUSED} == {rule.__name__ for rule in rules.RULES}


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.rule)
def test_it_is_refused(local, case):
    status, name, message = local.converse(case.request, case.model).error
    assert (status, name) == (400, "ValidationException")
    assert case.told in message
    assert first_to_refuse(case) == case.rule


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.rule)
def test_it_is_accepted(local, case):
    assert local.converse(case.request, case.model).status == 200
    assert first_to_refuse(case) is None


def test_a_stream_obeys_the_same_rules(local, refused):
    call = {"modelId": NOVA, "messages": [user("a"), user("b")]}
    assert refused(local.runtime.converse_stream, **call)[2].startswith("A conversation must alternate")

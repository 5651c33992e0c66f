"""Rows with an operator's settings: each cell of the capability table can be corrected, and each setting counts.

Where the local Bedrock, which keeps to the table, rejects what the operator wants (`REJECTED`), it has seen it.
"""

from typing import Any

from tests.envoy.gateway.fidelity.histories import KIND, MARKED, QUESTION
from tests.envoy.gateway.fidelity.inputs import ASK, CITATIONS, CITED, file
from tests.envoy.gateway.fidelity.names import ACCOUNT
from tests.envoy.gateway.fidelity.row import (
    BARE,
    GPT_OSS,
    HAIKU_4_5,
    KIMI_K3_1,
    LLAMA,
    NOVA,
    OPUS_4_6,
    OPUS_4_8,
    PARIS,
    QWEN,
    SCHEMA,
    SONNET_4_5,
    SONNET_4_6,
    STRICT,
    WEATHER,
    Row,
    json_schema,
    past_call,
    result,
    tools,
    user,
)
from tests.envoy.gateway.fidelity.schemas import EITHER

OPUS_4_1 = "anthropic.claude-opus-4-1-20250805-v1:0"

SETTINGS: dict[str, Any] = {
    "media": {"pdf": "text"},
    "compat": {"ignore_fields": ["chat_template_kwargs"]},
    "organisations": {"acme": {}, "umbrella": {}, "limited": {"pdf": "visual"}, "closed": {}},
    "capabilities": [
        {"family": "nova-micro", "schema_root_keys": [], "tool_names": "[a-zA-Z0-9_-]{1,64}"},
        {"family": "nova-pro", "inline_reasoning": "none"},
        {"family": "claude-opus-4-1", "schema_gaps": [], "property_names": None},
        {"family": "claude-haiku-4-5", "json_schema": ["native", "tool"]},
        {"family": "claude-opus-4-8", "system_turns": False},
        {"family": "claude-4-6", "default_max_tokens": 1000},
        {"family": "llama", "inline_reasoning": "thinking", "text_beside_tool_calls": True},
        {"family": "gpt-oss", "reasoning_history": "unsigned", "schema_gaps": []},
        {"family": "qwen3", "efforts": ["low", "medium", "high"], "tool_choices": ["auto"]},
        {"family": "kimi-k3.1", "reasoning_off": "never"},
        {"family": "nova-2-lite", "web_search_geographies": ["us", "global"]},
    ],
}

REFERRED = {"type": "object", "properties": {"city": {"$ref": "#/$defs/C"}}, "$defs": {"C": {"type": "string"}}}
HYPHEN = "get-weather"
LATER = [user("Hello!"), {"role": "assistant", "content": "Hi."}, {"role": "system", "content": KIND}, user("Hello!")]

OPERATORS = [
    Row(
        entry="A3",
        case="PDFs as text",
        model=SONNET_4_6,
        fields={"messages": [user(ASK, file())]},
        sent={CITATIONS: []},
    ),
    Row(
        entry="A3",
        case="PDFs that one organisation sees",
        model=SONNET_4_6,
        token="limited",
        fields={"messages": [user(ASK, file())]},
        sent={CITATIONS: CITED},
    ),
    Row(
        entry="A4",
        case="a family that writes no reasoning",
        model="amazon.nova-pro-v1:0",
        prompt="Count to 3. [[local: think=Hm]]",
        got={"message.content": "<thinking> Hm</thinking>\n1 2 3"},
    ),
    Row(
        entry="A4",
        case="another family that writes it",
        model=LLAMA,
        prompt="Count to 3. [[local: think=Hm]]",
        got={"message.content": "1 2 3", "message.reasoning_content": " Hm"},
    ),
    Row(
        entry="A5",
        case="native first",
        model=HAIKU_4_5,
        fields=json_schema(STRICT),
        sent={"toolConfig": None, "outputConfig.textFormat.type": "json_schema"},
        got={"json": {"city": "Paris"}},
    ),
    Row(
        entry="A7",
        case="no role `system`",
        model=OPUS_4_8,
        fields={"messages": LATER},
        sent={"messages[-1].[role, content[0].text]": ["user", MARKED]},
    ),
    Row(
        entry="B21",
        case="a field to pass over",
        model=NOVA,
        prompt="Hi",
        fields={"chat_template_kwargs": {"enable_thinking": False}},
        ignored=["chat_template_kwargs"],
    ),
    Row(
        entry="C",
        case="no tool that must be called",
        model=QWEN,
        fields={**WEATHER, "response_format": json_schema(BARE)["response_format"]},
        sent={"toolConfig.toolChoice": None},
        got={"calls": PARIS},
    ),
    *[
        Row(
            entry="C",
            case="the tokens of a response without a limit",
            model=model,
            prompt="Hi",
            sent={"inferenceConfig.maxTokens": tokens},
        )
        for model, tokens in ((OPUS_4_6, 1000), (SONNET_4_6, 64_000), (SONNET_4_5, 64_000))
    ],
    Row(
        entry="C",
        case="one effort of another model's",
        model=KIMI_K3_1,
        prompt="Hi",
        fields={"reasoning_effort": "low"},
        sent={"additionalModelRequestFields.reasoning.effort": "low"},
    ),
]

REJECTED = [
    Row(
        entry="A1",
        case="all keywords at the root",
        model=NOVA,
        fields=tools(STRICT),
        sent={SCHEMA: STRICT},
    ),
    Row(
        entry="A1",
        case="a hyphen in a tool's name",
        model=NOVA,
        prompt=f"Call {HYPHEN}.",
        fields=tools(BARE, HYPHEN),
        sent={"toolConfig.tools[].toolSpec.name": [HYPHEN]},
    ),
    Row(
        entry="A1",
        case="combinators at the root",
        model=OPUS_4_1,
        fields=tools(EITHER),
        sent={SCHEMA: EITHER},
    ),
    Row(
        entry="A1",
        case="all names of properties",
        model=OPUS_4_1,
        fields=tools(ACCOUNT),
        sent={SCHEMA: ACCOUNT},
    ),
    Row(
        entry="A1",
        case="references",
        model=GPT_OSS,
        fields=tools(REFERRED),
        sent={SCHEMA: REFERRED},
    ),
    Row(
        entry="A8",
        case="text beside calls",
        model=LLAMA,
        fields={**WEATHER, "messages": [QUESTION, past_call("{}", content="I'll look."), result()]},
        sent={"messages[].role": ["user", "assistant", "user"]},
    ),
    Row(
        entry="B11",
        case="an effort",
        model=QWEN,
        fields={"reasoning_effort": "medium"},
        sent={"additionalModelRequestFields.reasoning_config": "medium"},
    ),
    Row(
        entry="B17",
        case="a search in another geography",
        model="global.amazon.nova-2-lite-v1:0",
        fields={"web_search_options": {}, "max_tokens": 10**6},
        sent={"toolConfig.tools[0].systemTool.name": "nova_grounding"},
    ),
    Row(
        entry="C",
        case="earlier reasoning",
        model=GPT_OSS,
        fields={**WEATHER, "messages": [QUESTION, past_call("{}", reasoning_content="Hm."), result()]},
        sent={"messages[1].content[0].reasoningContent.reasoningText.text": "Hm."},
    ),
]

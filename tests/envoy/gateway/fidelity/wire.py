"""B12 to B23: said one thing, did another."""

import base64
from typing import Any

from tests.envoy.gateway.fidelity.inputs import ASK, PDF, TXT, file
from tests.envoy.gateway.fidelity.row import (
    BARE,
    GPT_OSS,
    HAIKU_4_5,
    LLAMA,
    NOVA,
    NOVA_2,
    NOVA_LITE,
    OPUS_4_7,
    QWEN,
    SONNET_3_7,
    SONNET_4_5,
    SONNET_4_6,
    WEATHER,
    Row,
    for_each,
    json_schema,
    past_call,
    result,
    tools,
    user,
)

QUESTION = user("What is the weather in Paris?")
DOCUMENT = "messages[0].content[].document.name"

# B12: names of files

NAMES = {
    "contract.pdf": "contract",
    "Größe & Co.pdf": "Gro-e - Co",
    "../../etc/passwd.pdf": "passwd",
    r"C:\Users\ada\my  file.PDF": "my file",
    "report (final) [v2].pdf": "report (final) [v2]",
    "a.tar.gz": "a-tar-gz",
    "日本語.pdf": "document-1",
    "....pdf": "document-1",
    "": "document-1",
    None: "document-1",
}
UNNAMED = ("日本語.pdf", "....pdf")
FILES = [
    *[
        Row(
            entry="B12",
            case=f"the name {given!r}",
            model=NOVA_LITE,
            fields={"messages": [user(ASK, file(filename=given))]},
            sent={DOCUMENT: [sent]},
            ignored=["messages[].content[].file.filename"] * (given in UNNAMED),
        )
        for given, sent in NAMES.items()
    ],
    *for_each(
        (NOVA_LITE, SONNET_4_6),
        Row(
            entry="B12",
            case="one name thrice, in two messages",
            model=NOVA_LITE,
            fields={
                "messages": [
                    user(ASK, file(), file()),
                    {"role": "assistant", "content": "Hi."},
                    user(ASK, file(filename="contract.txt", data=TXT)),
                ]
            },
            sent={"messages[].content[].document.name": ["contract", "contract-2", "contract-3"]},
        ),
    ),
    Row(
        entry="B12",
        case="file_id beside file_data",
        model=NOVA_LITE,
        fields={"messages": [user(ASK, file(file_id="file-1"))]},
        sent={DOCUMENT: ["contract"]},
        ignored=["messages[].content[].file.file_id"],
    ),
    Row(
        entry="B12",
        case="file_id alone",
        model=NOVA_LITE,
        fields={"messages": [user(ASK, {"type": "file", "file": {"file_id": "file-1"}})]},
        param="messages[0].content[1].file.file_id",
    ),
]

# B13: one notation

DOT = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
NOTATION = [
    Row(
        entry="B13",
        case="paths of all kinds",
        model=NOVA_LITE,
        fields={
            **tools(BARE, strict=True, cache_control={"type": "ephemeral"}),
            "seed": 1,
            "stream_options": {"include_obfuscation": True},
            "messages": [
                {"role": "user", "name": "ada", "content": "Hi"},
                {"role": "assistant", "content": "Hi", "annotations": [1], "reasoning_content": "Hm"},
                user(ASK, {"type": "image_url", "image_url": {"url": DOT, "detail": "high"}}),
            ],
        },
        ignored=[
            *("seed", "stream_options.include_obfuscation", "tools[].function.strict", "messages[].name"),
            *("tools[].function.cache_control", "messages[].annotations", "messages[].reasoning_content"),
            "messages[].content[].image_url.detail",
        ],
    ),
]

# B15: tokens of reasoning

TOKENS = "usage.completion_tokens_details.reasoning_tokens"
PATHS = "additionalModelResponseFieldPaths"
COUNTED = [
    *[
        Row(
            entry="B15",
            case=f"reasoning tokens{' beside a tool' if more else ''}",
            model=model,
            prompt="Hi",
            fields={"reasoning_effort": "low", **more},
            sent={PATHS: ["/usage/output_tokens_details"]},
            got={f"{TOKENS} > `0`": True, f"{TOKENS} < usage.completion_tokens": True},
        )
        for model in (SONNET_3_7, SONNET_4_5, SONNET_4_6, OPUS_4_7, "anthropic.claude-opus-5-5")
        for more in ({}, WEATHER)
    ],
    *for_each(
        (SONNET_4_6, NOVA, GPT_OSS),
        Row(
            entry="B15",
            case="no reasoning, or none that is counted",
            model=NOVA,
            prompt="Hi",
            sent={PATHS: None},
            got={"usage.completion_tokens_details": None},
        ),
    ),
]

# B16: cache breakpoints

BREAKPOINT: Any = {"type": "text", "text": "Long.", "prompt_cache_breakpoint": {"mode": "explicit"}}
POINT = "messages[0].content[].cachePoint.[type, ttl]"
CACHED = [
    Row(
        entry="B16",
        case=f"a bare breakpoint, options {options}",
        model=model,
        fields={"messages": [user(BREAKPOINT, ASK)], **({"prompt_cache_options": options} if options else {})},
        sent={POINT: [["default", ttl]]},
        ignored=ignored,
    )
    for model, options, ttl, ignored in (
        (SONNET_4_6, None, "1h", []),
        (SONNET_4_6, {"mode": "explicit"}, "1h", []),
        (SONNET_4_6, {"ttl": "30m"}, "1h", []),
        (HAIKU_4_5, {"ttl": "30m", "mode": "explicit"}, "1h", []),
        (SONNET_3_7, None, None, []),
        (SONNET_3_7, {"ttl": "30m"}, None, ["prompt_cache_options.ttl"]),
        (NOVA, None, None, []),
        (SONNET_4_6, {"mode": "implicit"}, "1h", ["prompt_cache_options.mode"]),
    )
]
CACHED += for_each(
    (LLAMA, QWEN),
    Row(
        entry="B16",
        case="a breakpoint where nothing is cached",
        model=LLAMA,
        fields={"messages": [user(BREAKPOINT, ASK)]},
        sent={POINT: []},
        ignored=["messages[].content[].prompt_cache_breakpoint"],
    ),
)

# B17: the web

PREMIER = "us.amazon.nova-premier-v1:0"
SEARCH = {"systemTool": {"name": "nova_grounding"}}
WEB = [
    *for_each(
        ("amazon.nova-premier-v1:0", PREMIER, "amazon.nova-2-lite-v1:0", NOVA_2),
        Row(
            entry="B17",
            case="a search",
            model=PREMIER,
            prompt="What is new?",
            fields={"web_search_options": {}},
            sent={"toolConfig.tools": [SEARCH]},
            got={"message.annotations[].type": ["url_citation"], "message.tool_calls": None, "finish_reason": "stop"},
            again=["messages[].annotations"],
        ),
    ),
    Row(
        entry="B17",
        case="its options",
        model=PREMIER,
        prompt="What is new?",
        fields={
            "web_search_options": {
                "search_context_size": "high",
                "user_location": {"type": "approximate", "approximate": {"city": "Paris"}},
            }
        },
        sent={"toolConfig.tools": [SEARCH]},
        ignored=["web_search_options.search_context_size", "web_search_options.user_location"],
        again=["messages[].annotations"],
    ),
    Row(
        entry="B17",
        case="beside a schema",
        model=PREMIER,
        prompt="What is new?",
        fields={"web_search_options": {}, **json_schema(BARE)},
        sent={"toolConfig.tools": [SEARCH], "contains(system[-1].text, 'JSON Schema')": True},
        got={"keys(json)": ["city"]},
        again=["messages[].annotations"],
    ),
    *[
        Row(
            entry="B17",
            case="a search elsewhere",
            model=model,
            prompt="What is new?",
            fields={"web_search_options": {}},
            param="web_search_options",
        )
        for model in (NOVA, NOVA_LITE, "eu.amazon.nova-2-lite-v1:0", "global.amazon.nova-2-lite-v1:0", SONNET_4_6, QWEN)
    ],
]

# B18: what strict clients read

TIERS = [
    Row(
        entry="B18",
        case=f"served at the tier {tier}",
        model=NOVA,
        prompt=f"Hi [[local: servicetier={tier}]]",
        got={"service_tier": named},
    )
    for tier, named in (("default", "default"), ("flex", "flex"), ("priority", "priority"), ("reserved", "scale"))
]
TEXTS = {
    "The model returned the following errors: output_config.format: x": "response_format",
    "The model returned the following errors: output_config.effort: x": "reasoning_effort",
    "The model returned the following errors: thinking.enabled.budget_tokens: x": "reasoning_effort",
    "`max_tokens` must be greater than `thinking.budget_tokens`.": "max_completion_tokens",
    "A maximum of 4 blocks with cache_control may be provided. Found 5.": "cache_control",
    "The value at additionalModelRequestFields.reasoning.effort must be one of the following: low.": "reasoning_effort",
}
ERRORS = [
    Row(
        entry="B18",
        case=f"Bedrock rejects {text[-24:]!r}",
        model=SONNET_4_5,
        prompt=f'Hi [[local: status=400 type=ValidationException message="{text}"]]',
        fields={"reasoning_effort": "low", "max_completion_tokens": 9000, **json_schema(BARE)},
        param=param,
    )
    for text, param in TEXTS.items()
]

# B20: the sixth document

CSV = base64.b64encode(b"a,b\n1,2\n").decode()
SIX = [user(ASK, *[file(filename=f"{n}.pdf") for n in range(5)]), {"role": "assistant", "content": "Hi."}]
DOCUMENTS = [
    *for_each(
        (NOVA_LITE, SONNET_4_6, LLAMA),
        Row(
            entry="B20",
            case="texts beyond five documents",
            model=NOVA_LITE,
            fields={"messages": [*SIX, user(ASK, file(CSV, "t.csv"), file(TXT, "n.txt"))]},
            sent={
                "length(messages[].content[].document)": 5,
                "messages[2].content[1:].text": [
                    "[Document t:]\na,b\n1,2\n\n[End of the document.]",
                    "[Document n:]\nHi.\n[End of the document.]",
                ],
            },
            ignored=["messages[].content[].file"],
        ),
    ),
    *for_each(
        (NOVA_LITE, SONNET_4_6),
        Row(
            entry="B20",
            case="a sixth PDF",
            model=NOVA_LITE,
            fields={"messages": [*SIX, user(ASK, file(PDF))]},
            param="messages[2].content[1]",
        ),
    ),
]

# B23: guardrails, failed calls, routers

GUARDRAIL = {"guardrailConfig": {"guardrailIdentifier": "gr123456", "guardrailVersion": "1"}}
SOURCE = {"type": "guarded_text", "text": "Tokyo is in Japan.", "qualifiers": ["grounding_source"]}
QUERY = {"type": "guarded_text", "text": "Where is Tokyo?", "qualifiers": ["query", "guard_content"]}
GUARDED = [
    *for_each(
        (NOVA, SONNET_4_6),
        Row(
            entry="B23",
            case="qualifiers",
            model=NOVA,
            fields={**GUARDRAIL, "messages": [user(SOURCE, QUERY)]},
            sent={
                "messages[0].content[].guardContent.text.qualifiers": [["grounding_source"], ["query", "guard_content"]]
            },
        ),
    ),
    Row(
        entry="B23",
        case="qualifiers that do not exist",
        model=NOVA,
        fields={**GUARDRAIL, "messages": [user({**SOURCE, "qualifiers": ["source"]})]},
        param="messages[0].content[0].qualifiers[0]",
    ),
    *[
        Row(
            entry="B23",
            case=f"is_error {failed}",
            model=model,
            fields={**WEATHER, "messages": [QUESTION, past_call("{}"), result("No such city.", is_error=failed)]},
            sent={"messages[2].content[0].toolResult.status": status},
            ignored=ignored,
        )
        for model, failed, status, ignored in (
            (SONNET_4_6, True, "error", []),
            (NOVA, True, "error", []),
            (LLAMA, True, None, ["messages[].is_error"]),
            (GPT_OSS, True, None, ["messages[].is_error"]),
            (SONNET_4_6, False, None, []),
            (LLAMA, False, None, []),
            (NOVA, None, None, []),
        )
    ],
    Row(
        entry="B23",
        case="the model that a router chose",
        model=NOVA,
        prompt="Hi [[local: router=amazon.nova-lite-v1:0]]",
        got={"ends_with(trace.promptRouter.invokedModelId, 'foundation-model/amazon.nova-lite-v1:0')": True},
    ),
]

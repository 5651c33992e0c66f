"""B11 and C: the effort of reasoning that each family gets, and other cells of the capability table."""

from tests.envoy.gateway.fidelity.row import (
    BARE,
    GPT_OSS,
    KIMI_K2_5,
    KIMI_K3_1,
    NOVA_2,
    OPUS_4_6,
    OPUS_4_7,
    OPUS_5_5,
    PARIS,
    QWEN,
    SONNET_4_5,
    SONNET_4_6,
    SONNET_5_5,
    STRICT,
    WEATHER,
    Row,
    for_each,
    json_schema,
    past_call,
    result,
    tools,
    user,
)

KIMI_K3 = "moonshotai.kimi-k3"
OUTPUT = "outputConfig.effort"
FIELD = "additionalModelRequestFields"
PLACES: dict[str, str] = {
    **dict.fromkeys((SONNET_4_6, OPUS_4_6, OPUS_4_7, OPUS_5_5, SONNET_5_5, "anthropic.claude-opus-5"), OUTPUT),
    NOVA_2: f"{FIELD}.reasoningConfig.maxReasoningEffort",
    QWEN: f"{FIELD}.reasoning_config",
    **dict.fromkeys(("xai.grok-4.6", "openai.gpt-5.6-sol", "openai.gpt-6-astra"), f"{FIELD}.reasoning.effort"),
    **dict.fromkeys((KIMI_K3, KIMI_K3_1), f"{FIELD}.reasoning.effort"),
}
"""The place of the effort, by model; elsewhere `reasoning_effort`."""

TABLE: dict[str, dict[str, str | None]] = {
    QWEN: {"minimal": None, "low": None, "medium": "high", "high": "high", "xhigh": "high", "max": "high"},
    "deepseek.v3-v1:0": {"minimal": None, "low": None, "medium": "high", "high": "high"},
    "zai.glm-4.7": {"minimal": None, "low": None, "medium": "high", "high": "high"},
    "zai.glm-5.3": {"minimal": "low", "low": "low", "max": "max"},
    SONNET_4_6: {"minimal": "low", "low": "low", "high": "high", "xhigh": "max", "max": "max"},
    OPUS_4_6: {"xhigh": "max", "max": "max"},
    OPUS_4_7: {"xhigh": "xhigh", "max": "xhigh"},
    "anthropic.claude-opus-5": {"xhigh": "xhigh", "max": "max"},
    SONNET_5_5: {"minimal": "low", "max": "xhigh"},
    OPUS_5_5: {"minimal": "low", "max": "max"},
    NOVA_2: {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"},
    GPT_OSS: {"minimal": "low", "medium": "medium", "xhigh": "high", "max": "high"},
    KIMI_K2_5: {"minimal": "low", "low": "low", "medium": "high", "xhigh": "max", "max": "max"},
    KIMI_K3_1: {"minimal": "low", "low": "low", "medium": "medium", "xhigh": "xhigh", "max": "max", "none": "none"},
    "xai.grok-4.6": {"minimal": "low", "max": "xhigh"},
    "openai.gpt-5.6-sol": {"none": "none", "minimal": "low", "max": "max"},
    "openai.gpt-6-astra": {"minimal": "low", "max": "max"},
    "minimax.minimax-m2": {"low": None, "high": None},
    KIMI_K3: {"minimal": "low", "low": "low", "max": "max", "none": "none"},
    "moonshot.kimi-k2-thinking": {"low": None, "high": None},
}
"""What each model gets for each effort; None where the field is left out."""

EFFORTS = [
    Row(
        entry="C" if "kimi" in model else "B11",
        case=f"reasoning_effort {effort}",
        model=model,
        prompt="Hi",
        fields={"reasoning_effort": effort},
        sent={PLACES.get(model, f"{FIELD}.reasoning_effort"): sent},
        got={"finish_reason": "stop"},
        ignored=[] if sent == effort else ["reasoning_effort"],
    )
    for model, efforts in TABLE.items()
    for effort, sent in efforts.items()
]
EFFORTS += [
    *[
        Row(
            entry="B11",
            case="none, for a model that cannot be kept from it",
            model=model,
            prompt="Hi",
            fields={"reasoning_effort": "none"},
            param="reasoning_effort",
        )
        for model in (GPT_OSS, "zai.glm-5.3", "minimax.minimax-m2", OPUS_5_5, "xai.grok-4.6", KIMI_K2_5)
    ],
    *[
        Row(
            entry="B11",
            case="none, for a model that reasons when asked",
            model=model,
            prompt="Hi",
            fields={"reasoning_effort": "none"},
            sent={"additionalModelRequestFields": None, "outputConfig": None},
        )
        for model in (QWEN, NOVA_2, SONNET_4_6, "deepseek.v3-v1:0", "zai.glm-4.7")
    ],
    Row(
        entry="B11",
        case="an effort that is a budget",
        model=SONNET_4_5,
        prompt="Hi",
        fields={"reasoning_effort": "minimal"},
        sent={f"{FIELD}.thinking": {"type": "enabled", "budget_tokens": 1024}},
        got={"length(message.thinking_blocks)": 1},
    ),
    *[
        Row(
            entry="B11",
            case="a budget that becomes an effort",
            model=model,
            prompt="Hi",
            fields={"thinking": {"type": "enabled", "budget_tokens": 2000}},
            sent={PLACES[model]: sent},
            ignored=["thinking.budget_tokens"],
        )
        for model, sent in ((QWEN, "high"), (NOVA_2, "low"), (OPUS_4_7, "low"))
    ],
]

# C: cells

FORCED = (QWEN, "minimax.minimax-m2", "minimax.minimax-m2.5", "nvidia.nemotron-super-3-120b", "mistral.devstral-2-123b")
CELLS = [
    *for_each(
        (*FORCED, "qwen.qwen3-coder-480b-a35b-v1:0", "nvidia.nemotron-nano-3-30b", "deepseek.v3-v1:0", "zai.glm-4.7"),
        Row(
            entry="C",
            case="a tool that must be called",
            model=QWEN,
            fields={**WEATHER, "tool_choice": "required"},
            sent={"toolConfig.toolChoice": {"any": {}}},
            got={"calls": PARIS},
        ),
    ),
    *for_each(
        FORCED,
        Row(
            entry="C",
            case="a named tool, which LangChain and instructor force",
            model=QWEN,
            fields={**WEATHER, "tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
            sent={"toolConfig.toolChoice": {"any": {}}, "length(toolConfig.tools)": 1},
            got={"calls": PARIS},
        ),
    ),
    *for_each(
        (GPT_OSS, KIMI_K3, KIMI_K3_1),
        Row(
            entry="C",
            case="no earlier reasoning",
            model=GPT_OSS,
            fields={
                **WEATHER,
                "messages": [
                    user("What is the weather in Paris?"),
                    past_call('{"city":"Paris"}', reasoning_content="I need the tool."),
                    result(),
                ],
            },
            sent={"messages[].content[].reasoningContent": []},
            ignored=["messages[].reasoning_content"],
        ),
    ),
    *[
        Row(
            entry="C",
            case="the tokens of a response without a limit",
            model=model,
            prompt="Hi",
            sent={"inferenceConfig.maxTokens": tokens},
        )
        for model, tokens in (
            (OPUS_4_6, 128_000),
            (SONNET_4_6, 64_000),
            (SONNET_4_5, 64_000),
            (OPUS_4_7, 128_000),
            (OPUS_5_5, 128_000),
            (NOVA_2, None),
        )
    ],
    *for_each(
        (OPUS_5_5, SONNET_5_5, "anthropic.claude-fable-5-1", "anthropic.claude-mythos-5-1"),
        Row(
            entry="C",
            case="a native schema where no tool can be forced",
            model=OPUS_5_5,
            fields=json_schema(STRICT),
            sent={"toolConfig": None, "outputConfig.textFormat.type": "json_schema"},
            got={"json": {"city": "Paris"}},
        ),
    ),
    *for_each(
        ("anthropic.claude-opus-5", "anthropic.claude-sonnet-5", "anthropic.claude-haiku-5-5", OPUS_4_7),
        Row(
            entry="C",
            case="a tool rather than a native schema, where sources disagree",
            model=OPUS_4_7,
            fields=json_schema(STRICT),
            sent={"outputConfig.textFormat": None, "toolConfig.toolChoice": {"tool": {"name": "get_weather"}}},
            got={"json": {"city": "Paris"}},
        ),
    ),
    *for_each(
        (OPUS_4_7, OPUS_5_5, SONNET_5_5),
        Row(
            entry="C",
            case="a strict tool where sources disagree",
            model=OPUS_4_7,
            fields=tools(STRICT, strict=True),
            sent={"toolConfig.tools[0].toolSpec.strict": None},
            got={"calls": PARIS},
            ignored=["tools[].function.strict"],
        ),
    ),
    *for_each(
        (SONNET_4_6, OPUS_4_6, SONNET_4_5, QWEN, KIMI_K2_5),
        Row(
            entry="C",
            case="a strict tool where they agree",
            model=SONNET_4_6,
            fields=tools(STRICT, strict=True),
            sent={"toolConfig.tools[0].toolSpec.strict": True},
            got={"calls": PARIS},
        ),
    ),
    Row(
        entry="C",
        case="no forced tool while a budget runs",
        model=SONNET_4_5,
        fields={**tools(BARE), "tool_choice": "required", "reasoning_effort": "low"},
        sent={"toolConfig.toolChoice": {"any": {}}, FIELD: None},
        got={"calls": PARIS},
        ignored=["reasoning_effort"],
    ),
]

"""A2, A7, A8: histories that a model cannot take as they are."""

from typing import Any

from extproc.bedrock.capability_table import BUILT_IN
from tests.envoy.gateway.fidelity.row import (
    BARE,
    GPT_OSS,
    LLAMA,
    MISTRAL,
    NOVA,
    NOVA_2,
    OPUS_4_7,
    OPUS_4_8,
    OPUS_5_5,
    QWEN,
    SONNET_4_5,
    SONNET_4_6,
    WEATHER,
    Row,
    for_each,
    past_call,
    result,
    tool,
    user,
)

ARGUMENTS = "messages[].tool_calls[].function.arguments"
QUESTION = user("What is the weather in Paris?")
INPUTS = "messages[].content[].toolUse.input"

SYSTEM = {"role": "system", "content": "Be kind."}
TWO = {"tools": [tool(BARE), tool(BARE, "get_time")]}

# A2: what the model itself wrote

WRITTEN: dict[str, Any] = {
    '{"city":"Paris","unit":"cel': {"city": "Paris"},
    '{"city":"Par': {"input": '{"city":"Par'},
    "null": {"input": None},
    "[1]": {"input": [1]},
    '"Paris"': {"input": "Paris"},
    "{'city': 'Paris'}": {"input": "{'city': 'Paris'}"},
}
PAST = [
    *[
        Row(
            entry="A2",
            case=f"arguments {written}",
            model=model,
            fields={**WEATHER, "messages": [QUESTION, past_call(written), result()]},
            sent={INPUTS: [sent]},
            got={"contains(message.content, '18 degrees')": True},
            ignored=[ARGUMENTS],
        )
        for model in (SONNET_4_6, NOVA, LLAMA, MISTRAL, GPT_OSS)
        for written, sent in WRITTEN.items()
    ],
    *for_each(
        (SONNET_4_6, NOVA),
        Row(
            entry="A2",
            case="one of two parallel calls",
            model=NOVA,
            fields={
                **WEATHER,
                "messages": [
                    QUESTION,
                    {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": past_call('{"city":"Rome"}')["tool_calls"]
                        + past_call('{"city":"Paris","u', identifier="c2")["tool_calls"],
                    },
                    result(),
                    result("19 degrees", "c2"),
                ],
            },
            sent={INPUTS: [{"city": "Rome"}, {"city": "Paris"}]},
            got={"contains(message.content, '19 degrees')": True},
            ignored=[ARGUMENTS],
        ),
    ),
    *for_each(
        (SONNET_4_6, NOVA),
        Row(
            entry="A2",
            case="a legacy call",
            model=NOVA,
            fields={
                "functions": [{"name": "get_weather", "parameters": BARE}],
                "messages": [
                    QUESTION,
                    {"role": "assistant", "function_call": {"name": "get_weather", "arguments": '{"city":"Paris","u'}},
                    {"role": "function", "name": "get_weather", "content": "18 degrees"},
                ],
            },
            sent={INPUTS: [{"city": "Paris"}]},
            got={"contains(message.content, '18 degrees')": True},
            ignored=["messages[].function_call.arguments"],
        ),
    ),
]

BEGUN = [user("Hello!"), {"role": "assistant", "content": "Once upon"}]
REASONS = {
    **dict.fromkeys((SONNET_4_5, SONNET_4_6, OPUS_4_8, OPUS_5_5, NOVA_2, "openai.gpt-5.6-sol"), "low"),
    **dict.fromkeys(("moonshotai.kimi-k2.5", "moonshotai.kimi-k3", "zai.glm-5.3", "xai.grok-4.6"), "low"),
    **dict.fromkeys((QWEN, "deepseek.v3-v1:0"), "high"),
}
"""An effort at which each model reasons."""
OWN = [
    *[
        Row(
            entry="A2",
            case=f"its own response, {case}",
            model=model,
            prompt=prompt,
            fields={"reasoning_effort": effort, **fields},
            got={"finish_reason": finish},
            again=again if BUILT_IN.of(model).reasoning_history != "none" else (),
        )
        for model, effort in REASONS.items()
        for case, prompt, fields, finish, again in (
            ("after a text to continue", "", {"messages": BEGUN}, "stop", ()),
            ("after an instruction behind a text", "", {"messages": [*BEGUN, SYSTEM]}, "stop", ()),
            ("empty", "Hi [[local: empty]]", {}, "stop", ()),
            ("filtered", "Hi [[local: stop=guardrail_intervened]]", {}, "content_filter", ()),
            ("two calls", "Call get_weather and get_time for Paris.", TWO, "tool_calls", ()),
        )
    ],
]

# A7: later instructions

KIND = "Be kind."
MARKED = "[System message, from the operator and not from the user:]\nBe kind.\n[End of the system message.]"
MARKS = {
    **dict.fromkeys((OPUS_4_8, "anthropic.claude-sonnet-5", OPUS_5_5, "anthropic.claude-haiku-5-5"), ("system", KIND)),
    **dict.fromkeys((SONNET_4_6, OPUS_4_7, NOVA, GPT_OSS, LLAMA), ("user", MARKED)),
}
"""The last turn at Bedrock, by model."""
TURN = "messages[-1].[role, content[0].text]"
LATER = [
    *[
        Row(
            entry="A7",
            case=f"a later {role} message",
            model=model,
            fields={
                "messages": [user("Hello!"), {"role": "assistant", "content": "Hi."}, {"role": role, "content": KIND}]
            },
            sent={TURN: [*turn], "system": None},
            got={"finish_reason": "stop"},
        )
        for role in ("system", "developer")
        for model, turn in MARKS.items()
    ],
    *for_each(
        (SONNET_4_6, NOVA, OPUS_4_8),
        Row(
            entry="A7",
            case="a leading one stays in `system`",
            model=NOVA,
            fields={"messages": [{"role": "developer", "content": KIND}, user("Hello!")]},
            sent={"system": [{"text": KIND}], "messages[].content[].text": ["Hello!"]},
        ),
    ),
    *[
        Row(
            entry="A7",
            case="an instruction behind a tool's result",
            model=model,
            fields={
                **WEATHER,
                "messages": [QUESTION, past_call("{}"), result(), {"role": "system", "content": KIND}],
            },
            sent={"messages[].role": roles, "messages[-1].content[-1].text": text},
        )
        for model, roles, text in (
            (SONNET_4_6, ["user", "assistant", "user"], MARKED),
            (NOVA, ["user", "assistant", "user"], MARKED),
            (LLAMA, ["user", "assistant", "user", "assistant", "user"], MARKED),
            (OPUS_4_8, ["user", "assistant", "user", "system"], KIND),
        )
    ],
    *for_each(
        (NOVA, OPUS_4_8),
        Row(
            entry="A7",
            case="a blank one",
            model=NOVA,
            fields={
                "messages": [user("Hello!"), {"role": "system", "content": " "}, {"role": "system", "content": ""}]
            },
            sent={"messages": [{"role": "user", "content": [{"text": "Hello!"}]}]},
        ),
    ),
]

# A8: Llama's turns

PROSE = [
    Row(
        entry="A8",
        case="text beside calls",
        model=model,
        fields={**WEATHER, "messages": [QUESTION, past_call('{"city":"Paris"}', content="I'll look."), result()]},
        sent={"messages[].role": roles, "messages[].content[].text": texts},
        got={"contains(message.content, '18 degrees')": True},
    )
    for model, roles, texts in (
        *(
            (
                llama,
                ["user", "assistant", "user", "assistant", "user"],
                [QUESTION["content"], "I'll look.", "Continue."],
            )
            for llama in (LLAMA, "meta.llama4-maverick-17b-instruct-v1:0", "meta.llama3-1-8b-instruct-v1:0")
        ),
        *((other, ["user", "assistant", "user"], [QUESTION["content"], "I'll look."]) for other in (NOVA, SONNET_4_6)),
    )
]

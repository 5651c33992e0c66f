"""A4, A5, A9, A10: answers that were not what they should be."""

from tests.envoy.gateway.fidelity.row import (
    BARE,
    GPT_OSS,
    HAIKU_4_5,
    LLAMA,
    NOVA,
    NOVA_2,
    NOVA_LITE,
    OMNI,
    OPUS_4_5,
    OPUS_5_5,
    PARIS,
    SCHEMA,
    SONNET_4_5,
    SONNET_4_6,
    SONNET_5_5,
    STRICT,
    WEATHER,
    Row,
    for_each,
    json_schema,
)

# A4: reasoning inside of the text

THINK = '[[local: think="I need get_weather."]]'
INLINE = [
    *for_each(
        (NOVA, NOVA_LITE, "amazon.nova-pro-v1:0", "us.amazon.nova-premier-v1:0"),
        Row(
            entry="A4",
            case="before a text",
            model=NOVA,
            prompt=f"Count to 3. {THINK}",
            got={"message.content": "1 2 3", "message.reasoning_content": " I need get_weather."},
            again=["messages[].reasoning_content"],
        ),
    ),
    Row(
        entry="A4",
        case="before two calls",
        model=NOVA,
        prompt=f"Call get_weather for Paris. {THINK}",
        fields=WEATHER,
        got={"calls": PARIS, "message.reasoning_content": " I need get_weather."},
        again=["messages[].reasoning_content"],
    ),
    Row(
        entry="A4",
        case="before the answer tool",
        model=NOVA,
        prompt=f"Paris? {THINK}",
        fields=json_schema(BARE),
        got={"keys(json)": ["city"], "message.reasoning_content": " I need get_weather.", "finish_reason": "stop"},
        again=["messages[].reasoning_content"],
    ),
    Row(
        entry="A4",
        case="before a JSON object in a fence",
        model=NOVA,
        prompt=f"Count to 3. [[local: fence]] {THINK}",
        fields={"response_format": {"type": "json_object"}},
        got={"json": {"answer": "1 2 3"}, "message.reasoning_content": " I need get_weather."},
        again=["messages[].reasoning_content"],
    ),
    Row(
        entry="A4",
        case="a tag in the user's own text",
        model=NOVA,
        prompt="Say <thinking>this</thinking>.",
        got={
            "message.content": 'You said: "Say <thinking>this</thinking>." (1 text block, 0 images, 1 turn).',
            "message.reasoning_content": None,
        },
    ),
    *for_each(
        (SONNET_4_6, NOVA_2, LLAMA),
        Row(
            entry="A4",
            case="a text that only looks like it",
            model=SONNET_4_6,
            prompt=f"Count to 3. {THINK}",
            got={
                "message.content": "<thinking> I need get_weather.</thinking>\n1 2 3",
                "message.reasoning_content": None,
            },
        ),
    ),
]

# A5: structured output of Sonnet 4.6 and Haiku 4.5

STRUCTURED = [
    *for_each(
        (SONNET_4_6, HAIKU_4_5),
        Row(
            entry="A5",
            case="the forced tool first",
            model=SONNET_4_6,
            fields=json_schema(STRICT, strict=True),
            sent={"outputConfig": None, "toolConfig.toolChoice": {"tool": {"name": "get_weather"}}, SCHEMA: STRICT},
            got={"json": {"city": "Paris"}, "message.tool_calls": None, "finish_reason": "stop"},
        ),
    ),
    Row(
        entry="A5",
        case="native while a budget forbids to force",
        model=HAIKU_4_5,
        fields={**json_schema(STRICT), "reasoning_effort": "low"},
        sent={"toolConfig": None, "outputConfig.textFormat.type": "json_schema"},
        got={"json": {"city": "Paris"}, "length(message.thinking_blocks)": 1},
    ),
    *for_each(
        (SONNET_4_5, OPUS_4_5, OPUS_5_5, SONNET_5_5),
        Row(
            entry="A5",
            case="native first elsewhere",
            model=SONNET_4_5,
            fields=json_schema(STRICT),
            sent={"toolConfig": None, "outputConfig.textFormat.type": "json_schema"},
            got={"json": {"city": "Paris"}},
        ),
    ),
    Row(
        entry="A5",
        case="beside a tool of the client's",
        model=SONNET_4_6,
        fields={**json_schema(STRICT, "answer"), **WEATHER},
        sent={"outputConfig": None, "toolConfig.toolChoice": {"any": {}}},
        got={"calls": PARIS},
    ),
    *[
        Row(
            entry="A5",
            case=f"Bedrock rejects the schema: {text[:24]}",
            model=HAIKU_4_5,
            prompt=f'Hi [[local: status=400 type=ValidationException message="{text}"]]',
            fields=json_schema(STRICT),
            param="response_format",
        )
        for text in (
            "The model returned the following errors: output_config.format: Extra inputs are not permitted",
            "This model doesn't support the outputConfig.textFormat field. Remove outputConfig.textFormat.",
        )
    ],
]

# A9: a fence around JSON

FENCED = [
    *for_each(
        (SONNET_4_6, NOVA, GPT_OSS, LLAMA),
        Row(
            entry="A9",
            case="around a JSON object",
            model=NOVA,
            prompt="Count to 30. [[local: fence]]",
            fields={"response_format": {"type": "json_object"}},
            got={"json": {"answer": " ".join(map(str, range(1, 31)))}},
        ),
    ),
    Row(
        entry="A9",
        case="around JSON of a schema in words",
        model=LLAMA,
        prompt="Count to 30. [[local: fence]]",
        fields=json_schema({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}),
        got={"json": {"n": 30}},
    ),
    *for_each(
        (SONNET_4_6, NOVA),
        Row(
            entry="A9",
            case="around a text",
            model=NOVA,
            prompt="Count to 3. [[local: fence]]",
            got={"message.content": "```json\n1 2 3\n```\n"},
        ),
    ),
]

# A10: images that a model makes

IMAGE = "message.images[0].image_url.url"
MADE = [
    Row(
        entry="A10",
        case="an image",
        model=OMNI,
        prompt="Draw a dot. [[local: image]]",
        got={f"starts_with({IMAGE}, 'data:image/png;base64,')": True, "message.images[].type": ["image_url"]},
        again=["messages[].images"],
    ),
    Row(
        entry="A10",
        case="an image beside a call",
        model=OMNI,
        prompt="Call get_weather for Paris. [[local: image]]",
        fields=WEATHER,
        got={"calls": PARIS, "length(message.images)": 1, "finish_reason": "tool_calls"},
        again=["messages[].images"],
    ),
    Row(
        entry="A10",
        case="no image",
        model=OMNI,
        prompt="Draw a dot.",
        got={"message.images": None},
    ),
]

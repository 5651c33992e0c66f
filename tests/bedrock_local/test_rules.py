"""Every rule rejects what it is there to reject, over the wire, and lets the nearest valid request pass.

The cases are in `rules/`, a file for each module of rules; the ones too large for it are here. In those files a bare
string is a text block (or one of `BLOCKS`), {call: 1} and {result: 1} are a toolUse and a toolResult with that id,
{reasoning: hm} is a reasoning block that the model has signed ({reasoning: hm, changed: hmm}: it was changed since),
{redacted: hm} one that it withheld, a bare tool name a tool without arguments, and "@png" stands for bytes that begin
like one. Without `messages` the user says hello. With `stream` it is a ConverseStream.
"""

import base64
import json
from pathlib import Path

import pytest
import yaml

from bedrock_local import rules, seals, shapes
from bedrock_local.conversation import Conversation
from bedrock_local.models import Shelf

FILES = {path.stem: yaml.safe_load(path.read_text()) for path in (Path(__file__).parent / "rules").glob("*.yaml")}
MODELS = FILES.pop("models")

BYTES = {
    "@png": b"\x89PNG\r\n\x1a\n",
    "@jpeg": b"\xff\xd8\xff\xe0",
    "@gif": b"GIF89a",
    "@gif88": b"GIF88a",
    "@webp": b"RIFF1234WEBP",
    "@wav": b"RIFF1234WAVE",
    "@pdf": b"%PDF-1.7",
    "@text": b"hello",
}

BLOCKS = {
    "@picture": {"image": {"format": "png", "source": {"bytes": "@png"}}},
    "@paper": {"document": {"name": "A paper", "format": "txt", "source": {"bytes": "@text"}}},
    "@paper.pdf": {"document": {"name": "A paper", "format": "pdf", "source": {"bytes": "@pdf"}}},
    "@film": {"video": {"format": "mp4", "source": {"bytes": "@text"}}},
    "@cache": {"cachePoint": {"type": "default"}},
    "@5m": {"cachePoint": {"type": "default", "ttl": "5m"}},
    "@1h": {"cachePoint": {"type": "default", "ttl": "1h"}},
}

NOWHERE = bytes(16)
"""The messages before the reasoning in the files: no request holds them."""


def spelled(value):
    """Return the value with the names of blocks and of bytes replaced by what they mean."""
    if isinstance(value, dict):
        return {key: spelled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [spelled(item) for item in value]
    if isinstance(value, str) and value in BLOCKS:
        return spelled(BLOCKS[value])
    return base64.b64encode(BYTES[value]).decode() if value in BYTES else value


def block(entry):
    if isinstance(entry, str):
        return spelled(entry) if entry in BLOCKS else {"text": entry}
    if "call" in entry:
        return {"toolUse": {"toolUseId": entry["call"], "name": "f", "input": {}}}
    if "result" in entry:
        return {"toolResult": {"toolUseId": entry["result"], "content": [{"text": "ok"}]}}
    if "reasoning" in entry:
        text = entry["reasoning"]
        signed = {"text": entry.get("changed", text), "signature": seals.signature(text, text, NOWHERE)}
        return {"reasoningContent": {"reasoningText": signed}}
    if "redacted" in entry:
        data = base64.b64encode(seals.redacted(entry["redacted"], NOWHERE)).decode()
        return {"reasoningContent": {"redactedContent": data}}
    return spelled(entry)


def messages(turns):
    return [
        {"role": role, "content": [block(entry) for entry in content]}
        for turn in turns
        for role, content in turn.items()
    ]


def tool(entry):
    return (
        {"toolSpec": {"name": entry, "inputSchema": {"json": {"type": "object"}}}} if isinstance(entry, str) else entry
    )


def request(case):
    """The Converse request of a case."""
    made = {"messages": messages(case.get("messages", [{"user": ["hello"]}])), **spelled(case.get("more", {}))}
    if "tools" in case:
        made["toolConfig"] = {"tools": [tool(entry) for entry in case["tools"]]}
    if "choice" in case:
        made["toolConfig"]["toolChoice"] = case["choice"]
    if "extra" in case:
        made["additionalModelRequestFields"] = case["extra"]
    if "inference" in case:
        made["inferenceConfig"] = case["inference"]
    if "schema" in case:
        structure = {"jsonSchema": {"schema": case["schema"]}}
        made["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": structure}}
    return made


def model(case):
    return MODELS[case.get("model", "nova")]


def picture(data=BYTES["@png"]):
    return {"image": {"format": "png", "source": {"bytes": base64.b64encode(data).decode()}}}


def paper(name):
    return {"document": {"name": name, "format": "txt", "source": {"bytes": "aGVsbG8="}}}


def large(rule, content, message="", model="nova"):
    return {"rule": rule, "message": message, "model": model, "messages": [{"user": content}]}


def strict(number):
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    return [{"toolSpec": {"name": f"f{n}", "strict": True, "inputSchema": {"json": schema}}} for n in range(number)]


def with_schema(properties, required):
    """Return a case with a schema for the response."""
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"rule": "structured_output", "model": "claude", "schema": json.dumps(schema)}


FLAGS = {f"p{n}": {"type": "boolean"} for n in range(25)}
UNIONS = {f"p{n}": {"type": ["string", "null"]} for n in range(17)}
COMPLEX = "Schema is too complex for compilation."

REJECTED = [
    *(case for file in FILES.values() for case in file["refused"]),
    large("number_and_size", [picture()] * 21, "The number of image blocks (21) exceeds the maximum of 20"),
    large(
        "number_and_size", ["a", *(paper(f"d{n}") for n in range(6))], "document blocks (6) exceeds the maximum of 5"
    ),
    large("number_and_size", [picture(BYTES["@png"].ljust(3_750_001))], "3750001 bytes, which exceeds the maximum"),
    large("prompt_length", ["a " * 32_001], "Input is too long for requested model.", "mistral"),
    {"rule": "strict_tools", "model": "claude", "tools": strict(21), "message": "at most 20 tools may be strict"},
    {**with_schema(FLAGS, []), "message": COMPLEX},
    {**with_schema(UNIONS, list(UNIONS)), "message": COMPLEX},
]
ACCEPTED = [
    *(case for file in FILES.values() for case in file["accepted"]),
    large("number_and_size", [picture()] * 20),
    large("prompt_length", ["a " * 31_000], model="mistral"),
    {"rule": "strict_tools", "model": "claude", "tools": strict(20)},
    with_schema(FLAGS, ["p0"]),
    with_schema(UNIONS | {"p0": {"type": "string"}}, list(UNIONS)),
]


def first_rejecting_rule(case):
    """The name of the rule that complains first, in this process."""
    checked = shapes.check("Converse", request(case), modelId=model(case))
    resolved = Shelf("us-east-1").resolve(model(case))
    conversation = Conversation(checked, resolved, resolved.family, streaming="stream" in case)
    return next((rule.__name__ for rule in rules.RULES if any(rule(conversation))), None)


def send(local, case):
    path = f"/model/{model(case).replace(':', '%3A')}/{'converse-stream' if 'stream' in case else 'converse'}"
    return local.post(path, request(case))


def test_every_rule_has_a_case():
    assert {case["rule"] for case in REJECTED} == {rule.__name__ for rule in rules.RULES}


@pytest.mark.parametrize("case", REJECTED, ids=lambda case: case["rule"])
def test_the_rule_rejects_the_case(local, case):
    status, name, message = send(local, case).error
    assert (status, name) == (400, "ValidationException")
    assert case["message"] in message
    assert first_rejecting_rule(case) == case["rule"]


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case["rule"])
def test_the_nearest_valid_case_passes(local, case):
    assert send(local, case).status == 200
    assert first_rejecting_rule(case) is None


@pytest.mark.parametrize("case", [{}, {"stream": True}], ids=str)
def test_nova_cannot_call_a_tool_with_a_hyphen_in_its_name(local, case):
    status, name, message = send(local, {"tools": ["get-weather"], **case}).error
    assert (status, name) == (424, "ModelErrorException")
    assert message.startswith("Model produced invalid sequence as part of ToolUse.")
    assert send(local, {"tools": ["get_weather"], **case}).status == 200
    assert send(local, {"tools": ["get-weather"], "model": "claude", **case}).status == 200


def test_a_stream_obeys_the_same_rules(local, rejected):
    call = {"modelId": model({}), "messages": messages([{"user": ["a"]}, {"user": ["b"]}])}
    assert rejected(local.runtime.converse_stream, **call)[2].startswith("A conversation must alternate")


def test_the_table_is_json_all_the_way():
    for case in (*REJECTED, *ACCEPTED):
        assert json.loads(json.dumps(request(case))) == request(case)

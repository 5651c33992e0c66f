"""Every rule refuses what it is there to refuse, over the wire, and lets the nearest valid request pass.

The cases are in rules.yaml; the ones too large for it are here.
"""

import base64
import json
from pathlib import Path

import pytest
import yaml

from bedrock_local import rules, shapes
from bedrock_local.conversation import Conversation
from bedrock_local.models import Shelf

TABLE = yaml.safe_load((Path(__file__).parent / "rules.yaml").read_text())

BYTES = {
    "@png": b"\x89PNG\r\n\x1a\n",
    "@jpeg": b"\xff\xd8\xff\xe0",
    "@gif": b"GIF89a",
    "@gif88": b"GIF88a",
    "@webp": b"RIFF1234WEBP",
    "@wav": b"RIFF1234WAVE",
    "@text": b"hello",
}


def spelled(value):
    """The value with the names of bytes replaced by base64."""
    if isinstance(value, dict):
        return {key: spelled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [spelled(item) for item in value]
    return base64.b64encode(BYTES[value]).decode() if value in BYTES else value


def block(given):
    if isinstance(given, str):
        return {"text": given}
    if "call" in given:
        return {"toolUse": {"toolUseId": given["call"], "name": "f", "input": {}}}
    if "result" in given:
        return {"toolResult": {"toolUseId": given["result"], "content": [{"text": "ok"}]}}
    return spelled(given)


def messages(turns):
    return [
        {"role": role, "content": [block(given) for given in content]}
        for turn in turns
        for role, content in turn.items()
    ]


def tool(given):
    return (
        {"toolSpec": {"name": given, "inputSchema": {"json": {"type": "object"}}}} if isinstance(given, str) else given
    )


def request(case):
    """The Converse request of a case."""
    made = {"messages": messages(case.get("messages", [{"user": ["hello"]}])), **spelled(case.get("more", {}))}
    if "tools" in case:
        made["toolConfig"] = {"tools": [tool(given) for given in case["tools"]]}
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
    return TABLE["models"][case.get("model", "nova")]


def picture(data=BYTES["@png"]):
    return {"image": {"format": "png", "source": {"bytes": base64.b64encode(data).decode()}}}


def paper(name):
    return {"document": {"name": name, "format": "txt", "source": {"bytes": "aGVsbG8="}}}


def large(rule, content, told="", model="nova"):
    return {"rule": rule, "told": told, "model": model, "messages": [{"user": content}]}


REFUSED = [
    *TABLE["refused"],
    large("number_and_size", [picture()] * 21, "The number of image blocks (21) exceeds the maximum of 20"),
    large(
        "number_and_size", ["a", *(paper(f"d{n}") for n in range(6))], "document blocks (6) exceeds the maximum of 5"
    ),
    large("number_and_size", [picture(BYTES["@png"].ljust(3_750_001))], "3750001 bytes, which exceeds the maximum"),
    large("question_length", ["a " * 32_001], "Input is too long for requested model.", "mistral"),
]
ACCEPTED = [
    *TABLE["accepted"],
    large("number_and_size", [picture()] * 20),
    large("question_length", ["a " * 31_000], model="mistral"),
]


def first_to_refuse(case):
    """The name of the rule that complains first, in this process."""
    checked = shapes.check("Converse", request(case), modelId=model(case))
    conversation = Conversation(checked, Shelf("us-east-1").resolve(model(case)), streaming=False)
    return next((rule.__name__ for rule in rules.RULES if any(rule(conversation))), None)


def test_every_rule_has_a_case():
    assert {case["rule"] for case in REFUSED} == {rule.__name__ for rule in rules.RULES}


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case["rule"])
def test_it_is_refused(local, case):
    status, name, message = local.converse(request(case), model(case)).error
    assert (status, name) == (400, "ValidationException")
    assert case["told"] in message
    assert first_to_refuse(case) == case["rule"]


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case["rule"])
def test_it_is_accepted(local, case):
    assert local.converse(request(case), model(case)).status == 200
    assert first_to_refuse(case) is None


def test_a_stream_obeys_the_same_rules(local, refused):
    call = {"modelId": model({}), "messages": messages([{"user": ["a"]}, {"user": ["b"]}])}
    assert refused(local.runtime.converse_stream, **call)[2].startswith("A conversation must alternate")


def test_the_table_is_json_all_the_way():
    for case in (*REFUSED, *ACCEPTED):
        assert json.loads(json.dumps(request(case))) == request(case)

"""A3, A6: PDFs that were not seen, and metadata that failed the call."""

import base64
from typing import Any

from tests.envoy.gateway.fidelity.row import (
    BARE,
    HAIKU_3,
    LLAMA,
    NOVA,
    NOVA_2,
    NOVA_LITE,
    OPUS_4_8,
    OPUS_5_5,
    SONNET_3_7,
    SONNET_4_5,
    SONNET_4_6,
    WEATHER,
    Row,
    for_each,
    json_schema,
    past_call,
    result,
    user,
)

QUESTION = user("What is the weather in Paris?")

# A3: PDFs

PDF = base64.b64encode(b"%PDF-1.4\n%%EOF\n").decode()
TXT = base64.b64encode(b"Hi.").decode()
CITATIONS = "messages[0].content[].document.citations"
CITED = [{"enabled": True}]


def file(data: str = PDF, filename: str | None = "contract.pdf", **more: Any) -> dict[str, Any]:
    """Return a part with a document."""
    return {"type": "file", "file": {"filename": filename, "file_data": data, **more}}


ASK: Any = {"type": "text", "text": "What does it say?"}
SEEN = [
    *[
        Row(
            entry="A3",
            case=f"a PDF, {what}",
            model=model,
            fields={"messages": [user(ASK, file())], **fields},
            sent={CITATIONS: cited, "messages[0].content[].document.name": ["contract"]},
            got=got,
        )
        for model, what, fields, cited, got in [
            *((model, "alone", {}, CITED, {}) for model in (SONNET_3_7, SONNET_4_5, SONNET_4_6, OPUS_4_8, OPUS_5_5)),
            *((model, "which its model does not see", {}, [], {}) for model in (HAIKU_3, NOVA_LITE, NOVA_2, LLAMA)),
            (SONNET_4_6, "beside a JSON object", {"response_format": {"type": "json_object"}}, CITED, {}),
            (SONNET_4_6, "beside a tool", WEATHER, CITED, {}),
            *(
                (model, "beside a schema", json_schema(BARE), [], {"keys(json)": ["city"]})
                for model in (SONNET_4_5, SONNET_4_6, OPUS_5_5)
            ),
        ]
    ],
    Row(
        entry="A3",
        case="a text beside a PDF",
        model=SONNET_4_6,
        fields={"messages": [user(ASK, file(TXT, "a.txt"), file())]},
        sent={"messages[0].content[].document.[format, citations.enabled]": [["txt", None], ["pdf", True]]},
    ),
    Row(
        entry="A3",
        case="a PDF of an earlier turn",
        model=SONNET_4_6,
        fields={"messages": [user(ASK, file()), {"role": "assistant", "content": "Hi."}, user("And now?")]},
        sent={CITATIONS: CITED},
    ),
    Row(
        entry="A3",
        case="a PDF in a tool's result",
        model=SONNET_4_6,
        fields={**WEATHER, "messages": [QUESTION, past_call("{}"), result([file()])]},
        sent={"messages[2].content[0].toolResult.content[0].document.[format, citations]": ["pdf", None]},
    ),
]

# A6: metadata

LONG = "x" * 257
UNFIT = {"user_id": '{"device_id":"704c"}', "company": "Société", "url": "https://a.b/?q", "long": LONG, "fit": "a b"}
METADATA = [
    *for_each(
        (NOVA, SONNET_4_6),
        Row(
            entry="A6",
            case="pairs that do not fit",
            model=NOVA,
            prompt="Hi",
            fields={"metadata": UNFIT, "user": "Société", "safety_identifier": LONG},
            sent={"requestMetadata": {"fit": "a b"}},
            ignored=[
                *(f"metadata.{key}" for key in ("user_id", "company", "url", "long")),
                *("user", "safety_identifier"),
            ],
        ),
    ),
    Row(
        entry="A6",
        case="nothing that fits",
        model=NOVA,
        prompt="Hi",
        fields={"metadata": {"user_id": "{}"}},
        sent={"requestMetadata": None},
        ignored=["metadata.user_id"],
    ),
    *[
        Row(entry="A6", case=f"metadata {empty}", model=NOVA, prompt="Hi", fields=empty, sent={"requestMetadata": None})
        for empty in ({"metadata": None}, {"metadata": {}})
    ],
    Row(
        entry="A6",
        case="a full metadata beside two names of the user",
        model=NOVA,
        prompt="Hi",
        fields={"metadata": {f"k{n}": "v" for n in range(15)}, "user": "ada", "safety_identifier": "a1"},
        sent={"length(keys(requestMetadata))": 16, "requestMetadata.user": "ada"},
        ignored=["safety_identifier"],
    ),
    Row(
        entry="A6",
        case="an empty value",
        model=NOVA,
        prompt="Hi",
        fields={"metadata": {"a": ""}},
        sent={"requestMetadata": {"a": ""}},
    ),
]

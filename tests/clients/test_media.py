"""Documents, sound, film, and pictures in results, with OpenAI's Python SDK: sent as the model takes them, or not."""

import base64
from typing import Any

import pytest
from openai import BadRequestError, OpenAI

CLAUDE = "anthropic.claude-sonnet-4-6"
NOVA = "amazon.nova-lite-v1:0"
MICRO = "amazon.nova-micro-v1:0"
VOXTRAL = "mistral.voxtral-small-24b-2507"
OMNI = "amazon.nova-2-omni-v1:0"

PDF = base64.b64encode(b"%PDF-1.4\n%%EOF\n").decode()
GIF = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
MP4 = base64.b64encode(b"\0\0\0\x18ftypisom").decode()
WAV = base64.b64encode(b"RIFF\x04\0\0\0WAVE").decode()

TEXT: Any = {"type": "text", "text": "What is it?"}
IMAGE: Any = {"type": "image_url", "image_url": {"url": f"data:image/gif;base64,{GIF}"}}
SOUND: Any = {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}
FILM: Any = {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{MP4}"}}


def user_messages(*parts: Any) -> Any:
    return [{"role": "user", "content": list(parts)}]


@pytest.mark.parametrize("data", [f"data:application/pdf;base64,{PDF}", PDF])
@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_documents(client: OpenAI, local: Any, model: str, data: str) -> None:
    file: Any = {"type": "file", "file": {"filename": "contract (1).pdf", "file_data": data}}
    response = client.chat.completions.create(model=model, messages=user_messages(file, file))
    assert response.choices[0].message.content is not None
    assert "2 documents" in response.choices[0].message.content
    *documents, text = local.call()["body"]["messages"][0]["content"]
    assert [block["document"]["name"] for block in documents] == ["contract (1)", "contract (1)-2"]
    assert {block["document"]["format"] for block in documents} == {"pdf"}
    is_cited = [block["document"].get("citations") == {"enabled": True} for block in documents]
    assert is_cited == [model == CLAUDE] * 2
    assert text["text"].strip()  # Bedrock wants a text beside documents, and the request has none


@pytest.mark.parametrize("stream", [False, True])
def test_a_text_beyond_five_documents_does_not_end_the_conversation(client: OpenAI, local: Any, stream: bool) -> None:
    pdf: Any = {"type": "file", "file": {"filename": "contract.pdf", "file_data": PDF, "file_id": "file-1"}}
    text: Any = {"type": "file", "file": {"filename": "notes.txt", "file_data": base64.b64encode(b"Hi.").decode()}}
    raw = client.chat.completions.with_raw_response.create(
        model=NOVA, messages=[*user_messages(*[pdf] * 5, text), *user_messages(text)], stream=stream
    )
    assert list(raw.parse())
    assert raw.headers["x-oai-ignored-params"] == "messages[].content[].file.file_id, messages[].content[].file"
    *documents, sixth, seventh = local.call()["body"]["messages"][0]["content"]
    assert [block["document"]["name"] for block in documents] == ["contract", *(f"contract-{n}" for n in (2, 3, 4, 5))]
    assert sixth == seventh == {"text": "[Document notes:]\nHi.\n[End of the document.]"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_sixth_document_that_is_no_text_is_rejected_with_the_limit(client: OpenAI, local: Any, stream: bool) -> None:
    pdf: Any = {"type": "file", "file": {"filename": "contract.pdf", "file_data": PDF}}
    with pytest.raises(BadRequestError, match="a request may have 5") as rejected:
        client.chat.completions.create(model=NOVA, messages=user_messages(*[pdf] * 6), stream=stream)
    assert rejected.value.param == "messages[0].content[5]"
    assert local.calls() == []


@pytest.mark.parametrize(
    ("model", "part", "sent"),
    [
        (VOXTRAL, SOUND, {"audio": {"format": "wav", "source": {"bytes": WAV}}}),
        (OMNI, SOUND, {"audio": {"format": "wav", "source": {"bytes": WAV}}}),
        (NOVA, FILM, {"video": {"format": "mp4", "source": {"bytes": MP4}}}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_sound_and_film(client: OpenAI, local: Any, model: str, part: Any, sent: Any, stream: bool) -> None:
    result: Any = client.chat.completions.create(model=model, messages=user_messages(TEXT, part), stream=stream)
    last = list(result)[-1] if stream else result
    assert last.choices[0].finish_reason == "stop"
    assert sent in local.call()["body"]["messages"][0]["content"]


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_a_picture_in_a_tools_result(client: OpenAI, weather: Any, local: Any, model: str) -> None:
    call: Any = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    history: Any = [*user_messages(TEXT), {"role": "assistant", "tool_calls": [call]}]
    history += [{"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "Sunny"}, IMAGE]}]
    response = client.chat.completions.create(model=model, messages=history, tools=[weather])
    assert response.choices[0].finish_reason == "stop"
    assert GIF in str(local.call()["body"])


@pytest.mark.parametrize(
    ("model", "part", "param"),
    [
        (MICRO, IMAGE, "type"),
        (MICRO, {"type": "file", "file": {"file_data": PDF}}, "type"),
        (CLAUDE, SOUND, "type"),
        (CLAUDE, FILM, "type"),
        (CLAUDE, {"type": "file", "file": {"file_id": "file-1"}}, "file.file_id"),
        (NOVA, {"type": "image_url", "image_url": {"url": "s3://bucket/cat.png"}}, "image_url.url"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_media_that_the_model_does_not_accept_is_rejected_at_its_place(
    client: OpenAI, local: Any, model: str, part: Any, param: str, stream: bool
) -> None:
    with pytest.raises(BadRequestError) as rejected:
        client.chat.completions.create(model=model, messages=user_messages(TEXT, part), stream=stream)
    assert rejected.value.param == f"messages[0].content[1].{param}"
    assert local.calls() == []


def test_an_object_of_s3_where_the_operator_lets_callers_name_them(start_gateway: Any) -> None:
    gateway = start_gateway({"media": {"s3": True}})
    with OpenAI(base_url=gateway.url, api_key=gateway.tokens["ci"], max_retries=0, timeout=20) as client:
        part: Any = {"type": "image_url", "image_url": {"url": "s3://bucket/cat.png"}}
        response = client.chat.completions.create(model=NOVA, messages=user_messages(TEXT, part))
        assert response.choices[0].message.content is not None
        assert "1 image" in response.choices[0].message.content
        with pytest.raises(BadRequestError, match="read no image from S3"):
            client.chat.completions.create(model=CLAUDE, messages=user_messages(TEXT, part))


@pytest.mark.parametrize("stream", [False, True])
def test_images_that_the_model_makes(client: OpenAI, stream: bool) -> None:
    question: Any = [{"role": "user", "content": "Draw a dot. [[local: image]]"}]
    message: Any
    if stream:
        with client.chat.completions.stream(model=OMNI, messages=question) as events:
            message = events.get_final_completion().choices[0].message
    else:
        message = client.chat.completions.create(model=OMNI, messages=question).choices[0].message
    [image] = message.images
    kind, _, content = image["image_url"]["url"].partition(";base64,")
    assert (image["type"], kind) == ("image_url", "data:image/png")
    assert base64.b64decode(content).startswith(b"\x89PNG")
    assert message.content.startswith("You said")
    history: Any = [*question, message, {"role": "user", "content": "Thanks!"}]
    again = client.chat.completions.with_raw_response.create(model=OMNI, messages=history)
    assert "images" in again.headers["x-oai-ignored-params"]

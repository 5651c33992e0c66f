"""Images, documents, sounds and videos: accepted ones, and those rejected at their path."""

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given as any_of
from hypothesis import strategies as st
from msgspec import Raw

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.capability_table import BUILT_IN
from extproc.bedrock.converse import ImageContent, Verbatim
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.translate import media
from extproc.translate.ignored import Ignored
from extproc.translate.lazy_base64 import LONG, decode_string
from extproc.translate.media import MAX_REMOTE_IMAGES, Media, remote_images

PATH = "messages[0].content[1].image_url.url"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(10)


def raw(value: object) -> Raw:
    """Return the text as a decoded request holds it."""
    return Raw(json.dumps(value).encode())


def url(content: bytes, head: str = "data:image/png;base64") -> str:
    return f"{head},{base64.b64encode(content).decode()}"


def image_block(text: str) -> ImageContent:
    return media._image_block(decode_string(raw(text), PATH), PATH)


# Parts, by the model's capabilities

EVERYTHING = Capabilities(
    family="test",
    images=True,
    max_images=2,
    documents=("pdf", "txt", "docx"),
    video=("mp4", "mov", "webm", "mkv", "flv", "three_gp"),
    audio=("wav", "mp3"),
    s3_sources=("image", "document", "video"),
)
NOTHING = Capabilities(family="test")
PART = "messages[0].content[0]"
PDF = b"%PDF-1.7"


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def image(where: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": where}}


def file(**fields: Any) -> dict[str, Any]:
    return {"type": "file", "file": fields}


def audio(data: str, format_: str = "wav") -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": data, "format": format_}}


def video(where: str) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": where}}


def parts(*content: dict[str, Any], to: Capabilities = EVERYTHING, ignored: Ignored | None = None) -> list[Any]:
    request = decode_request(json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]}).encode())
    media = Media(to, {"https://x/a.png": PNG, "http://x/b": b"GIF89a"}, ignored or Ignored())
    [message] = request.messages
    read: Any = message.content
    return [msgspec.to_builtins(media.block(part, f"messages[0].content[{at}]")) for at, part in enumerate(read)]


def turned_down(*content: dict[str, Any], to: Capabilities = EVERYTHING) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parts(*content, to=to)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        (image("https://x/a.png"), {"image": {"format": "png", "source": {"bytes": base64_of(PNG)}}}),
        (image("http://x/b"), {"image": {"format": "gif", "source": {"bytes": base64_of(b"GIF89a")}}}),
        (
            image("s3://bucket/a b.JPG"),
            {"image": {"format": "jpeg", "source": {"s3Location": {"uri": "s3://bucket/a b.JPG"}}}},
        ),
        (audio("aGk=", "mp3"), {"audio": {"format": "mp3", "source": {"bytes": "aGk="}}}),
        (audio("data:audio/wav;base64,aG\nk="), {"audio": {"format": "wav", "source": {"bytes": "aGk="}}}),
        (video("data:video/quicktime;base64,aGk="), {"video": {"format": "mov", "source": {"bytes": "aGk="}}}),
        (
            video("s3://bucket/a.3gp"),
            {"video": {"format": "three_gp", "source": {"s3Location": {"uri": "s3://bucket/a.3gp"}}}},
        ),
    ],
)
def test_supported_media_are_sent(part: Any, sent: Any) -> None:
    assert parts(part) == [sent]


@pytest.mark.parametrize(
    ("content", "format_"),
    [
        (b"\0\0\0\x18ftypisom", "mp4"),
        (b"\0\0\0\x18ftypqt  ", "mov"),
        (b"\0\0\0\x18ftyp3gp4", "three_gp"),
        (b"\x1a\x45\xdf\xa3\x01webm", "webm"),
        (b"\x1a\x45\xdf\xa3\x01matroska", "mkv"),
        (b"FLV\x01", "flv"),
    ],
)
def test_a_video_of_no_type_shows_it_in_its_bytes(content: bytes, format_: str) -> None:
    [content_parts] = parts(video(url(content, "data:application/octet-stream;base64")))
    assert content_parts["video"]["format"] == format_


@pytest.mark.parametrize(
    ("fields", "format_", "name", "source"),
    [
        (
            {"file_data": url(PDF, "data:application/pdf;base64"), "filename": "contract.pdf"},
            *("pdf", "contract", {"bytes": base64_of(PDF)}),
        ),
        ({"file_data": base64_of(PDF)}, "pdf", "document-1", {"bytes": base64_of(PDF)}),
        ({"file_data": base64_of(b"hi"), "filename": "my notes.txt"}, "txt", "my notes", {"bytes": "aGk="}),
        ({"file_data": "s3://bucket/q3/a.docx"}, "docx", "a", {"s3Location": {"uri": "s3://bucket/q3/a.docx"}}),
        ({"file_data": "s3://bucket/a", "filename": "b.pdf"}, "pdf", "b", {"s3Location": {"uri": "s3://bucket/a"}}),
    ],
)
def test_a_document_has_its_clients_name(fields: Any, format_: str, name: str, source: Any) -> None:
    assert parts(file(**fields)) == [{"document": {"format": format_, "name": name, "source": source}}]


CITED = {"citations": {"enabled": True}}
CLAUDE, NOVA = BUILT_IN.families["claude-4-5"], BUILT_IN.families["nova"]


@pytest.mark.parametrize(
    ("to", "fields", "more"),
    [
        (CLAUDE, {"file_data": base64_of(PDF)}, CITED),
        (CLAUDE, {"file_data": base64_of(b"a,b"), "filename": "a.csv"}, {}),
        (CLAUDE, {"file_data": base64_of(b"hello")}, {}),
        (NOVA, {"file_data": base64_of(PDF)}, {}),
        (BUILT_IN.families["claude-3"], {"file_data": base64_of(PDF)}, {}),
        (BUILT_IN.families["claude-newer"], {"file_data": base64_of(PDF)}, CITED),
    ],
)
def test_a_pdf_is_cited_where_only_so_its_pages_are_seen(to: Capabilities, fields: Any, more: Any) -> None:
    """Of text documents citations are an error: https://github.com/boto/boto3/issues/4726"""
    [document] = parts(file(**fields), to=to)
    assert {name: value for name, value in document["document"].items() if name == "citations"} == more


def test_a_pdf_in_a_tools_result_is_not_cited() -> None:
    part = decode_request(
        json.dumps({"model": "m", "messages": [{"role": "user", "content": [file(file_data=base64_of(PDF))]}]}).encode()
    )
    content: Any = part.messages[0].content
    sent = msgspec.to_builtins(Media(CLAUDE, {}, Ignored()).block(content[0], "p", in_result=True))
    assert "citations" not in sent["document"]


def test_documents_have_different_names() -> None:
    names = ("a.txt", "a.txt", "b/a.txt", "", "契約.txt", "a-2.txt")
    content_parts = parts(*[file(file_data="aGk=", filename=name) for name in names[:5]])
    assert [block["document"]["name"] for block in content_parts] == ["a", "a-2", "a-3", "document-4", "document-5"]
    content_parts = parts(*[file(file_data="aGk=", filename=name) for name in (names[5], *names[:2])])
    assert [block["document"]["name"] for block in content_parts] == ["a-2", "a", "a-3"]


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({"filename": "契約.txt"}, ("messages[].content[].file.filename",)),
        ({"filename": "Société (1).txt"}, ()),
        ({"filename": ""}, ()),
        ({"filename": "a.txt", "file_id": "file-1"}, ("messages[].content[].file.file_id",)),
    ],
)
def test_what_a_document_loses_is_named(fields: Any, paths: Any) -> None:
    ignored = Ignored()
    parts(file(file_data="aGk=", **fields), ignored=ignored)
    assert ignored.paths == paths


ALL_TEXTS = msgspec.structs.replace(EVERYTHING, documents=("pdf", "txt", "csv", "md"))


def test_a_document_beyond_five_is_sent_as_text_if_it_is_one() -> None:
    ignored = Ignored()
    csv = file(file_data=base64_of(b"\xef\xbb\xbfa,b"), filename="table.csv")
    bare = file(file_data="data:text/markdown;base64,aGk=")
    *documents, sixth, seventh = parts(*[file(file_data=base64_of(PDF))] * 5, csv, bare, to=ALL_TEXTS, ignored=ignored)
    assert all("document" in block for block in documents)
    assert sixth == {"text": "[Document table:]\na,b\n[End of the document.]"}
    assert seventh == {"text": "[Document without a name:]\nhi\n[End of the document.]"}
    assert ignored.paths == ("messages[].content[].file",)


@pytest.mark.parametrize(
    "sixth",
    [
        file(file_data=base64_of(PDF), filename="a.pdf"),
        file(file_data="s3://bucket/a.txt"),
        file(file_data="data:text/csv;base64," + base64_of(b"Z\xfcrich")),
    ],
    ids=["pdf", "in S3", "not UTF-8"],
)
def test_any_other_document_beyond_five_is_rejected_with_the_limit(sixth: Any) -> None:
    error = turned_down(*[file(file_data="aGk=")] * 5, sixth, to=ALL_TEXTS)
    assert (error.param, error.code) == ("messages[0].content[5]", "too_many_documents")
    assert "a request may have 5" in error.message
    assert "txt, md, csv, html" in error.message


@pytest.mark.parametrize(
    ("part", "what"),
    [
        (image("https://x/a.png"), "images"),
        (file(file_data="aGk="), "documents"),
        (audio("aGk="), "sound"),
        (video("data:video/mp4;base64,aGk="), "videos"),
    ],
)
def test_an_unsupported_format_is_rejected_with_the_supported_ones(part: Any, what: str) -> None:
    error = turned_down(part, to=NOTHING)
    assert (error.param, error.code) == (f"{PART}.type", "unsupported_value")
    assert error.message == f"Models of the family 'test' take no {what}: they take text."
    assert "'capabilities'" in turned_down(part, to=BUILT_IN.of(None)).message


def test_the_error_lists_every_supported_format() -> None:
    to = Capabilities(family="test", images=True, documents=("pdf", "csv"), audio=("wav",))
    message = turned_down(video("data:video/mp4;base64,aGk="), to=to).message
    assert message.endswith("they take text, images, documents (pdf, csv) and sound (wav).")


@pytest.mark.parametrize(
    ("part", "param", "code"),
    [
        (image("https://x/unknown.png"), "image_url.url", "invalid_image"),
        (image("s3://bucket/a.tiff"), "image_url.url", "invalid_image"),
        (image("s3://b/a.png"), "image_url.url", "invalid_image"),
        (image("s3://bucket/" + "a" * 1024 + ".png"), "image_url.url", "invalid_image"),
        (file(), "file.file_data", "missing_required_parameter"),
        (file(file_id="file-1"), "file.file_id", "unsupported_value"),
        (file(file_data="https://x/a.pdf"), "file.file_data", "invalid_document"),
        (file(file_data="data:application/pdf,abc"), "file.file_data", "invalid_document"),
        (file(file_data=url(b"hi", "data:application/pdf;base64")), "file.file_data", "invalid_document"),
        (file(file_data=""), "file.file_data", "invalid_document"),
        (file(file_data="%%%"), "file.file_data", "invalid_document"),
        (file(file_data=url(b"a,b", "data:text/csv;base64")), "file.file_data", "invalid_document"),
        (file(file_data=base64_of(b"\x00\xff")), "file.file_data", "invalid_document"),
        (file(file_data="s3://bucket/a"), "file.file_data", "invalid_document"),
        (audio("aGk=", "flac"), "input_audio.format", "unsupported_value"),
        (audio("%%%"), "input_audio.data", "invalid_audio"),
        (audio(""), "input_audio.data", "invalid_audio"),
        (audio("data:audio/wav,abc"), "input_audio.data", "invalid_audio"),
        (video("https://x/a.mp4"), "video_url.url", "invalid_video"),
        (video("data:video/x-ms-wmv;base64,aGk="), "video_url.url", "invalid_video"),
        (video("data:;base64,aGk="), "video_url.url", "invalid_video"),
        (video("s3://bucket/a.avi"), "video_url.url", "invalid_video"),
    ],
)
def test_unreadable_content_is_rejected_at_its_path(part: Any, param: str, code: str) -> None:
    error = turned_down(part)
    assert (error.param, error.code) == (f"{PART}.{param}", code)
    assert len(error.message) < 200


@pytest.mark.parametrize(
    "part", [image("s3://bucket/a.png"), file(file_data="s3://bucket/a.pdf"), video("s3://bucket/a.mp4")]
)
def test_a_model_that_reads_nothing_from_s3_rejects_s3_urls(part: Any) -> None:
    to = Capabilities(family="test", images=True, documents=("pdf",), video=("mp4",))
    assert "S3" in turned_down(part, to=to).message


def test_one_image_too_many_is_named() -> None:
    assert len(parts(image(url(PNG)), image(url(PNG)))) == 2
    error = turned_down(image(url(PNG)), file(file_data="aGk="), image("https://x/a.png"), image(url(PNG)))
    assert (error.param, error.code) == ("messages[0].content[3]", "too_many_images")


# Media at URLs


def test_remote_images_are_named_once_with_the_first_place() -> None:
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "https://x/no"}]},
        {"role": "user", "content": "https://x/no"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, image("HTTPS://x/b"), image("http://x/a")]},
        {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f"}}]},
        {"role": "tool", "tool_call_id": "c", "content": [image("http://x/a"), image("https://x/c"), image(url(PNG))]},
        {"role": "user", "content": [image("s3://bucket/a.png"), image("ftp://x/a")]},
    ]
    request = decode_request(json.dumps({"model": "m", "messages": messages}).encode())
    assert list(remote_images(request.messages).items()) == [
        ("HTTPS://x/b", ("messages[2].content[1].image_url.url", 1)),
        ("http://x/a", ("messages[2].content[2].image_url.url", 2)),
        ("https://x/c", ("messages[4].content[1].image_url.url", 1)),
    ]


def test_no_more_remote_images_are_listed_than_show_that_they_are_too_many() -> None:
    urls = [f"https://x/{number}" for number in range(MAX_REMOTE_IMAGES + 1)]
    messages = [{"role": "user", "content": [*map(image, [*urls, "https://x/late", urls[0]])]}]
    listed = remote_images(decode_request(json.dumps({"model": "m", "messages": messages}).encode()).messages)
    assert list(listed) == urls


@pytest.mark.parametrize(("length", "kept"), [(LONG - 4, False), (LONG, True)])
def test_only_long_media_keep_the_clients_body(length: int, kept: bool) -> None:
    data = base64.b64encode(PNG.ljust(length * 3 // 4)).decode()
    source = image_block(f"data:image/png;base64,{data}").image.source.bytes
    assert isinstance(source, Verbatim) is kept
    assert (bytes(source.characters).decode() if isinstance(source, Verbatim) else source) == data


ENCODED = st.binary(max_size=100).map(lambda content: base64.b64encode(content).decode())


@any_of(st.text(st.sampled_from("ABz09+/= \n-"), max_size=12) | ENCODED)
def test_base64_accepted_without_decoding_can_be_decoded(text):
    def outcome(read: Any) -> object:
        try:
            source, content = read()
        except ApiError as error:
            return error.message
        return source, content[:72]

    first_bytes = outcome(lambda: media._first_bytes(decode_string(raw(text), "here"), "image", "here"))
    assert first_bytes == outcome(lambda: media._decoded(text, "image", "here"))

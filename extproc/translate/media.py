"""Images, documents, sounds and videos as OpenAI has them -> Bedrock's blocks, as far as the model takes them.

An image's type is read from its bytes: clients mislabel images, and Bedrock rejects a wrong format. Clean base64 is
sent as it came, neither decoded nor copied. A document keeps its client's name as far as Bedrock takes it. Of more
documents than Bedrock takes, those that are text are sent as text.

Invariant: a part becomes a block that the model's family accepts, or one 400 that names the part and the kinds that
the family accepts.

Decisions: docs/decisions.md, D15, D128, D132.
"""

import binascii
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar, assert_never

from msgspec import UNSET, Raw

from extproc.bedrock.capabilities import UNKNOWN, Capabilities, DocumentFormat, MediaKind, VideoFormat
from extproc.bedrock.converse import (
    AudioBlock,
    AudioContent,
    CitationsConfig,
    DocumentBlock,
    DocumentContent,
    ImageBlock,
    ImageContent,
    MediaSource,
    S3Location,
    TextContent,
    VideoBlock,
    VideoContent,
)
from extproc.bedrock.image_formats import ImageFormat, image_format
from extproc.openai.decoding import decode_at
from extproc.openai.errors import ApiError, invalid
from extproc.openai.messages import AudioPart, File, FilePart, ImagePart, MediaPart, Message, VideoPart
from extproc.translate.documents import (
    MOST_DOCUMENTS,
    TEXTS,
    by_extension,
    document_as_text,
    document_format,
    document_name,
    is_broken,
)
from extproc.translate.ignored import Ignored
from extproc.translate.lazy_base64 import LazyBase64, decode_string, source
from extproc.translate.pdf_pages import page_tokens
from extproc.translate.video_formats import VIDEO_EXTENSIONS, video_format

MediaBlock = ImageContent | DocumentContent | AudioContent | VideoContent
_F = TypeVar("_F", ImageFormat, VideoFormat)

MAX_REMOTE_IMAGES = 20
"""Most images at URLs that a request may name, each counted once: as many as Converse accepts."""

_FILE = "messages[].content[].file"
"""The path of any document, as `Ignored` has it."""
_REMOTE = ("http://", "https://")
S3_SCHEME = "s3://"
_S3 = re.compile(r"s3://[a-z0-9][.\-a-z0-9]{1,61}[a-z0-9](/.*)?", re.DOTALL)
_S3_LONGEST = 1024
_LONGEST_HEAD = 4_096
"""Most characters of a `data:` URL before its comma; what is longer is none."""
_WHITE_SPACE = str.maketrans("", "", " \t\r\n")
_ACCEPTED = "a data: URL with a base64 PNG, JPEG, GIF or WebP image"

_IMAGE_EXTENSIONS: dict[str, ImageFormat] = {
    "png": "png",
    "jpg": "jpeg",
    "jpeg": "jpeg",
    "gif": "gif",
    "webp": "webp",
}
_NO_PARTS: Sequence[object] = ()
_BEGINNING = 96
"""Characters of base64 that contain every signature by which a format is detected."""


class RemoteImage(NamedTuple):
    """An image at a URL: the path of the first part that names it, and how many parts do."""

    path: str
    uses: int


def remote_images(messages: Sequence[Message]) -> dict[str, RemoteImage]:
    """Return the images at http(s) URLs, by URL, in order: one more than a request may have where it has too many."""
    remote: dict[str, RemoteImage] = {}
    for index, message in enumerate(messages):
        content = message.content
        for position, part in enumerate(_NO_PARTS if content is None or isinstance(content, str) else content):
            if isinstance(part, ImagePart):
                path = f"messages[{index}].content[{position}].image_url.url"
                url = _short(part.image_url.url, path)
                if is_remote(url):
                    first = remote.get(url)
                    remote[url] = RemoteImage(path, 1) if first is None else RemoteImage(first.path, first.uses + 1)
                    if len(remote) > MAX_REMOTE_IMAGES:
                        return remote
    return remote


class Media:
    """The media of one request."""

    def __init__(self, capabilities: Capabilities, fetched: Mapping[str, bytes], ignored: Ignored) -> None:
        """`fetched` has the bytes of images by http(s) URL."""
        self._ignored = ignored
        self._capabilities = capabilities
        self._fetched = fetched
        self.page_tokens = 0
        """Tokens of the pages of its PDFs, beyond those that the files have by their lengths."""
        self._images = 0
        self._names: list[str] = []
        """The names of the documents so far, not of those that are sent as text."""

    def block(self, part: MediaPart, param: str, *, in_result: bool = False) -> MediaBlock | TextContent:
        """Return the block for `part`, which may be in a tool's result.

        Raises a 400 `ApiError`; `param` is the path of the part.
        """
        match part:
            case ImagePart():
                return self._image(part.image_url.url, param)
            case FilePart():
                return self._document(part, param, in_result=in_result)
            case AudioPart():
                return self._audio(part, param)
            case VideoPart():
                return self._video(part.video_url.url, param)
        assert_never(part)

    def _image(self, raw: Raw, param: str) -> ImageContent:
        where = f"{param}.image_url.url"
        data = decode_string(raw, where)
        url = data.text
        if not self._capabilities.images:
            if not is_remote(url) and not url.startswith(S3_SCHEME):
                _image_block(data, where)  # an error in the image itself comes first: no other model would accept it
            raise self._not_taken("images", param)
        self._images += 1
        most = self._capabilities.max_images
        if self._images > most:
            message = f"This is one image too many: a request to this model may have {most}."
            raise invalid(message, param, "too_many_images")
        if is_remote(url):
            return self._remote_image(url, where)
        if url.startswith(S3_SCHEME):
            place = self._in_s3(url, "image", where)
            return ImageContent(ImageBlock(_by_end(url, _IMAGE_EXTENSIONS, "image", where), place))
        return _image_block(data, where)

    def _remote_image(self, url: str, param: str) -> ImageContent:
        content = self._fetched.get(url)
        if content is None:
            raise _rejected("This gateway fetches no image URLs: send the image itself, as " + _ACCEPTED + ".", param)
        base64 = memoryview(binascii.b2a_base64(content, newline=False))
        return ImageContent(ImageBlock(_sniff(content, param), source(base64)))

    def _document(self, part: FilePart, param: str, *, in_result: bool) -> DocumentContent | TextContent:
        accepted = self._capabilities.documents
        if not accepted:
            raise self._not_taken("documents", param)
        file, where = part.file, f"{param}.file.file_data"
        if bytes(memoryview(file.file_data)[:5]) == b"null":
            raise _no_file_data(file.file_id, f"{param}.file")
        place, content, detected, filename = self._read_document(file, where)
        if detected not in accepted:
            what = f"a {detected} document" if detected else "a document of an unknown format"
            family = self._capabilities.family
            message = f"Models of the family '{family}' do not take {what}: send {_list(accepted, 'or')}."
            raise _rejected(message, where, "document")
        if file.file_id is not None:
            self._ignored.add(f"{_FILE}.file_id")
        name = document_name(filename)
        if file.filename and not name:
            self._ignored.add(f"{_FILE}.filename")
        if len(self._names) == MOST_DOCUMENTS:
            self._ignored.add(_FILE)
            return document_as_text(name, content if detected in TEXTS else b"", param)
        if detected == "pdf":
            self.page_tokens += page_tokens(content)
        is_cited = detected in self._capabilities.cited_documents and not in_result
        citations = CitationsConfig(enabled=True) if is_cited else UNSET
        return DocumentContent(DocumentBlock(detected, self._unique(name), place, citations))

    def _read_document(self, file: File, param: str) -> tuple[MediaSource, bytes, DocumentFormat | None, str]:
        """Return the source, the bytes (none of an object in S3), the format if it is known, and a file name."""
        filename = file.filename or ""
        data = decode_string(file.file_data, param)
        if data.text.startswith(S3_SCHEME):
            place = self._in_s3(data.text, "document", param)
            return place, b"", by_extension(data.text) or by_extension(filename), filename or data.text
        place, content, media_type = _file_data(data, param)
        detected = document_format(content, media_type, filename)
        if detected is not None and is_broken(content, detected):
            raise _rejected("These bytes are no PDF, although they are labelled as one.", param, "document")
        return place, content, detected, filename

    def _unique(self, name: str) -> str:
        """Return a name that no document of the request has yet. It depends only on those before it."""
        number = len(self._names) + 1
        unique = name = name or f"document-{number}"
        while unique in self._names:
            unique, number = f"{name}-{number}", number + 1
        self._names.append(unique)
        return unique

    def _audio(self, part: AudioPart, param: str) -> AudioContent:
        accepted = self._capabilities.audio
        if not accepted:
            raise self._not_taken("sound", param)
        sound = part.input_audio
        if sound.format not in accepted:
            message = f"Models of the family '{self._capabilities.family}' take sound as {_list(accepted)}."
            raise invalid(message, f"{param}.input_audio.format", "unsupported_value")
        where = f"{param}.input_audio.data"
        data = decode_string(sound.data, where)
        if data.text[:5].lower() == "data:":
            data = _data_url(data, "base64, or a data: URL with base64", "audio", where).data
        place, _ = _first_bytes(data, "audio", where)
        return AudioContent(AudioBlock(sound.format, place))

    def _video(self, raw: Raw, param: str) -> VideoContent:
        accepted = self._capabilities.video
        if not accepted:
            raise self._not_taken("videos", param)
        where = f"{param}.video_url.url"
        detected: VideoFormat | None
        url = decode_string(raw, where)
        if url.text.startswith(S3_SCHEME):
            place = self._in_s3(url.text, "video", where)
            detected = _by_end(url.text, VIDEO_EXTENSIONS, "video", where)
        else:
            parts = _data_url(url, "a data: URL with a base64 video", "video", where)
            place, content = _first_bytes(parts.data, "video", where)
            detected = video_format(content, parts.media_type)
        if detected not in accepted:
            message = f"Models of the family '{self._capabilities.family}' take videos as {_list(accepted)}."
            raise _rejected(message, where, "video")
        return VideoContent(VideoBlock(detected, place))

    def _in_s3(self, uri: str, kind: MediaKind, param: str) -> MediaSource:
        if kind not in self._capabilities.s3_sources:
            family = self._capabilities.family
            raise _rejected(
                f"Models of the family '{family}' read no {kind} from S3: send its bytes instead.", param, kind
            )
        if len(uri) > _S3_LONGEST or not _S3.fullmatch(uri):
            raise _rejected("This is no S3 URI such as s3://bucket/folder/name.", param, kind)
        return MediaSource(s3_location=S3Location(uri))

    def _not_taken(self, what: str, param: str) -> ApiError:
        capabilities = self._capabilities
        if capabilities.family == UNKNOWN:
            message = (
                f"It is not known here whether this model takes {what} (its family is '{UNKNOWN}'): "
                "an operator of the gateway can declare it in the settings, under 'capabilities'."
            )
        else:
            message = f"Models of the family '{capabilities.family}' take no {what}: they take {_kinds(capabilities)}."
        return invalid(message, f"{param}.type", "unsupported_value")


def _image_block(url: LazyBase64, param: str) -> ImageContent:
    """Return the image in a `data:` URL. Raises a 400 `ApiError`; `param` is the path of the URL."""
    parts = _data_url(url, _ACCEPTED, "image", param)
    place, content = _first_bytes(parts.data, "image", param)
    return ImageContent(ImageBlock(format=_sniff(content, param), source=place))


class _DataURL(NamedTuple):
    media_type: str
    data: LazyBase64


def _data_url(url: LazyBase64, what: str, kind: str, param: str) -> _DataURL:
    """Split a base64 `data:` URL; `what` describes the expected one in the 400 `ApiError` that this may raise."""
    comma = url.text.find(",", 0, _LONGEST_HEAD)
    head = url.text[: comma if comma >= 0 else _LONGEST_HEAD].lower()
    if not head.startswith("data:"):
        raise _rejected(f"The gateway cannot read this URL: send {what}.", param, kind)
    if comma < 0 or not head.endswith(";base64"):
        raise _rejected(f"This is not {what}.", param, kind)
    data = LazyBase64(url.text[comma + 1 :], url.base64)
    return _DataURL(head.removeprefix("data:").partition(";")[0].strip(), data)


def _file_data(data: LazyBase64, param: str) -> tuple[MediaSource, bytes, str]:
    """Return base64, content and media type ("" if unknown) of a `data:` URL or of bare base64: clients send both."""
    if data.text[:5].lower() == "data:":
        media_type, data = _data_url(data, "a data: URL with a base64 document", "document", param)
    elif is_remote(data.text):
        raise _rejected("Documents are not fetched from URLs: send the document itself, in base64.", param, "document")
    else:
        media_type = ""
    if data.base64 is not None:
        return source(data.base64), binascii.a2b_base64(data.base64), media_type
    return *_decoded(data.text, "document", param), media_type


def _no_file_data(file_id: str | None, param: str) -> ApiError:
    if file_id is None:
        return invalid("A file needs 'file_data'.", f"{param}.file_data", "missing_required_parameter")
    message = "This gateway stores no files: send the document itself in 'file_data'."
    return invalid(message, f"{param}.file_id", "unsupported_value")


def _first_bytes(data: LazyBase64, kind: str, param: str) -> tuple[MediaSource, bytes]:
    """Return the base64 without line breaks, and at least the first bytes of its content."""
    if data.base64 is not None:
        return source(data.base64), binascii.a2b_base64(data.base64[:_BEGINNING])
    return _decoded(data.text, kind, param)


def _decoded(data: str, kind: str, param: str) -> tuple[MediaSource, bytes]:
    """Return the base64 without line breaks, and its content. Raises a 400 `ApiError`."""
    if not data.isascii():
        raise _rejected(f"The {kind}'s base64 is damaged: it has characters outside ASCII.", param, kind)
    data = data.translate(_WHITE_SPACE)
    try:
        content = binascii.a2b_base64(data, strict_mode=True)
    except binascii.Error as error:
        raise _rejected(f"The {kind}'s base64 is damaged: {error}.", param, kind) from error
    if len(data) != (len(content) + 2) // 3 * 4:
        raise _rejected(f"The {kind}'s base64 is damaged: there is too much padding.", param, kind)
    if not content and kind != "image":
        raise _rejected(f"The {kind} is empty.", param, kind)
    return MediaSource(data), content


def _sniff(content: bytes, param: str) -> ImageFormat:
    image = image_format(content)
    if image is not None:
        return image
    raise _rejected("These bytes are not an image that models accept: send a PNG, JPEG, GIF or WebP.", param)


def _by_end(uri: str, formats: Mapping[str, _F], kind: str, param: str) -> _F:
    """Return an S3 object's format by the extension of its name. Raises a 400 `ApiError`."""
    detected = formats.get(uri.rpartition(".")[2].lower())
    if detected is None:
        raise _rejected(f"The {kind}'s name must end in its format: {_list(tuple(formats))}.", param, kind)
    return detected


def _short(raw: Raw, path: str) -> str:
    """Decode the string `raw`; "" for a `data:` URL."""
    return "" if bytes(memoryview(raw)[:6]).lower() == b'"data:' else decode_at(raw, str, path)


def is_remote(url: str) -> bool:
    """Return whether a URL is http or https."""
    return url[:8].lower().startswith(_REMOTE)


def _kinds(capabilities: Capabilities) -> str:
    """List the kinds of content that a family accepts, as a phrase."""
    kinds = {
        "images": capabilities.images,
        f"documents ({', '.join(capabilities.documents)})": capabilities.documents,
        f"videos ({', '.join(capabilities.video)})": capabilities.video,
        f"sound ({', '.join(capabilities.audio)})": capabilities.audio,
    }
    return _list(("text", *(kind for kind, taken in kinds.items() if taken)))


def _list(words: Sequence[str], conjunction: str = "and") -> str:
    *most, last = words
    return f"{', '.join(most)} {conjunction} {last}" if most else last


def _rejected(message: str, param: str, kind: str = "image") -> ApiError:
    return invalid(message, param, f"invalid_{kind}")

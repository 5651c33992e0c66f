"""Images, documents, sounds and videos as OpenAI has them -> Bedrock's blocks, as far as the model takes them.

An image's type is read from its bytes, not believed: clients mislabel images, and Bedrock refuses a wrong format.
Base64 that came in goes out as it came, neither decoded nor copied. A document's name is a number, and nothing else:
Bedrock wants names to be unique in a request, has the model read them, and warns of instructions hidden there.

Invariant: a part becomes a block that the model's family takes, or one 400 that says which part it is, and what the
family does take.
"""

import binascii
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar, assert_never

from msgspec import Raw

from extproc.bedrock.capabilities import UNKNOWN, Capabilities, MediaKind, VideoFormat
from extproc.bedrock.converse import (
    AudioBlock,
    AudioContent,
    DocumentBlock,
    DocumentContent,
    ImageBlock,
    ImageContent,
    MediaSource,
    S3Location,
    VideoBlock,
    VideoContent,
)
from extproc.bedrock.image_formats import ImageFormat, image_format
from extproc.openai.decoding import decode_at
from extproc.openai.errors import ApiError, invalid
from extproc.openai.messages import AudioPart, FilePart, ImagePart, MediaPart, Message, VideoPart
from extproc.translate.documents import by_extension, document_format, is_broken
from extproc.translate.lazy_base64 import LazyBase64, decode_string, source

MediaBlock = ImageContent | DocumentContent | AudioContent | VideoContent
_F = TypeVar("_F", ImageFormat, VideoFormat)

_MOST_DOCUMENTS = 5
"""Of one request (https://docs.aws.amazon.com/bedrock/latest/userguide/inference-api-restrictions.html)."""
_REMOTE = ("http://", "https://")
_S3_SCHEME = "s3://"
_S3 = re.compile(r"s3://[a-z0-9][.\-a-z0-9]{1,61}[a-z0-9](/.*)?", re.DOTALL)
_S3_LONGEST = 1024
_WHITE_SPACE = str.maketrans("", "", " \t\r\n")
_ACCEPTED = "a data: URL with a base64 PNG, JPEG, GIF or WebP image"

_IMAGE_EXTENSIONS: dict[str, ImageFormat] = {
    "png": "png",
    "jpg": "jpeg",
    "jpeg": "jpeg",
    "gif": "gif",
    "webp": "webp",
}
_VIDEO_TYPES: dict[str, VideoFormat] = {
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/x-matroska": "mkv",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/mpeg": "mpeg",
    "video/mpg": "mpg",
    "video/x-ms-wmv": "wmv",
    "video/3gpp": "three_gp",
}
_VIDEO_EXTENSIONS: dict[str, VideoFormat] = {
    "mp4": "mp4",
    "mov": "mov",
    "mkv": "mkv",
    "webm": "webm",
    "flv": "flv",
    "mpeg": "mpeg",
    "mpg": "mpg",
    "wmv": "wmv",
    "3gp": "three_gp",
}
_NO_PARTS: Sequence[object] = ()
_BEGINNING = 96
"""So many characters of base64 hold more than tells what something is."""


class RemoteImage(NamedTuple):
    """An image at a URL: the path of the first part that names it, and how many parts do."""

    path: str
    uses: int


def remote_images(messages: Sequence[Message]) -> dict[str, RemoteImage]:
    """The images at http(s) URLs, by URL, in order."""
    found: dict[str, RemoteImage] = {}
    for index, message in enumerate(messages):
        content = message.content
        for position, part in enumerate(_NO_PARTS if content is None or isinstance(content, str) else content):
            if isinstance(part, ImagePart):
                path = f"messages[{index}].content[{position}].image_url.url"
                url = _short(part.image_url.url, path)
                if _is_remote(url):
                    first = found.get(url)
                    found[url] = RemoteImage(path, 1) if first is None else RemoteImage(first.path, first.uses + 1)
    return found


class Media:
    """The media of one request."""

    def __init__(self, capabilities: Capabilities, fetched: Mapping[str, bytes]) -> None:
        """`fetched`: what stands at the http(s) URLs of images."""
        self._capabilities = capabilities
        self._fetched = fetched
        self._images = 0
        self._documents = 0

    def block(self, part: MediaPart, param: str) -> MediaBlock:
        """What goes out for `part`; `param` is its path, for the 400 that this may raise."""
        match part:
            case ImagePart():
                return self._image(part.image_url.url, param)
            case FilePart():
                return self._document(part, param)
            case AudioPart():
                return self._audio(part, param)
            case VideoPart():
                return self._video(part.video_url.url, param)
        assert_never(part)

    def _image(self, raw: Raw, param: str) -> ImageContent:
        where = f"{param}.image_url.url"
        said = decode_string(raw, where)
        url = said.text
        if not self._capabilities.images:
            if not _is_remote(url) and not url.startswith(_S3_SCHEME):
                _image_block(said, where)  # what is wrong with the image itself comes first: no model would mend that
            raise self._not_taken("images", param)
        self._images += 1
        most = self._capabilities.max_images
        if self._images > most:
            message = f"This is one image too many: a request to this model may have {most}."
            raise invalid(message, param, "too_many_images")
        if _is_remote(url):
            return self._remote_image(url, where)
        if url.startswith(_S3_SCHEME):
            place = self._in_s3(url, "image", where)
            return ImageContent(ImageBlock(_by_end(url, _IMAGE_EXTENSIONS, "image", where), place))
        return _image_block(said, where)

    def _remote_image(self, url: str, param: str) -> ImageContent:
        content = self._fetched.get(url)
        if content is None:
            raise _refuse("Image URLs are not fetched here: send the image itself, as " + _ACCEPTED + ".", param)
        base64 = memoryview(binascii.b2a_base64(content, newline=False))
        return ImageContent(ImageBlock(_sniff(content, param), source(base64)))

    def _document(self, part: FilePart, param: str) -> DocumentContent:
        takes = self._capabilities.documents
        if not takes:
            raise self._not_taken("documents", param)
        self._documents += 1
        if self._documents > _MOST_DOCUMENTS:
            message = (
                f"This is one document too many: a request may have {_MOST_DOCUMENTS}, those of earlier turns too."
            )
            raise invalid(message, param, "too_many_documents")
        file = part.file
        where = f"{param}.file.file_data"
        if bytes(memoryview(file.file_data)[:5]) == b"null":
            raise _no_file_data(file.file_id, f"{param}.file")
        said = decode_string(file.file_data, where)
        if said.text.startswith(_S3_SCHEME):
            place = self._in_s3(said.text, "document", where)
            found = by_extension(said.text) or by_extension(file.filename or "")
        else:
            place, content, media_type = _file_data(said, where)
            found = document_format(content, media_type, file.filename or "")
            if found is not None and is_broken(content, found):
                raise _refuse("These bytes are no PDF, although they are called one.", where, "document")
        if found not in takes:
            what = f"a {found} document" if found else "a document whose format neither type, bytes nor name tell"
            message = f"Models of the family '{self._capabilities.family}' do not take {what}: {_list(takes)} they do."
            raise _refuse(message, where, "document")
        return DocumentContent(DocumentBlock(found, f"document-{self._documents}", place))

    def _audio(self, part: AudioPart, param: str) -> AudioContent:
        takes = self._capabilities.audio
        if not takes:
            raise self._not_taken("sound", param)
        sound = part.input_audio
        if sound.format not in takes:
            message = f"Models of the family '{self._capabilities.family}' take sound as {_list(takes)}."
            raise invalid(message, f"{param}.input_audio.format", "unsupported_value")
        where = f"{param}.input_audio.data"
        said = decode_string(sound.data, where)
        if said.text[:5].lower() == "data:":
            said = _data_url(said, "base64, or a data: URL with base64", "audio", where).data
        place, _ = _begun(said, "audio", where)
        return AudioContent(AudioBlock(sound.format, place))

    def _video(self, raw: Raw, param: str) -> VideoContent:
        takes = self._capabilities.video
        if not takes:
            raise self._not_taken("videos", param)
        where = f"{param}.video_url.url"
        found: VideoFormat | None
        said = decode_string(raw, where)
        if said.text.startswith(_S3_SCHEME):
            place = self._in_s3(said.text, "video", where)
            found = _by_end(said.text, _VIDEO_EXTENSIONS, "video", where)
        else:
            read = _data_url(said, "a data: URL with a base64 video", "video", where)
            place, content = _begun(read.data, "video", where)
            found = _VIDEO_TYPES.get(read.media_type) or _video_begins_like(content)
        if found not in takes:
            message = f"Models of the family '{self._capabilities.family}' take videos as {_list(takes)}."
            raise _refuse(message, where, "video")
        return VideoContent(VideoBlock(found, place))

    def _in_s3(self, uri: str, kind: MediaKind, param: str) -> MediaSource:
        if kind not in self._capabilities.s3_sources:
            family = self._capabilities.family
            raise _refuse(
                f"Models of the family '{family}' read no {kind} from S3: send its bytes instead.", param, kind
            )
        if len(uri) > _S3_LONGEST or not _S3.fullmatch(uri):
            raise _refuse("This is no S3 URI such as s3://bucket/folder/name.", param, kind)
        return MediaSource(s3_location=S3Location(uri))

    def _not_taken(self, what: str, param: str) -> ApiError:
        capabilities = self._capabilities
        if capabilities.family == UNKNOWN:
            message = (
                f"It is not known here whether this model takes {what} (its family is '{UNKNOWN}'): "
                "an operator of the gateway can say so in its settings, under 'capabilities'."
            )
        else:
            message = f"Models of the family '{capabilities.family}' take no {what}: they take {_kinds(capabilities)}."
        return invalid(message, f"{param}.type", "unsupported_value")


def _image_block(said: LazyBase64, param: str) -> ImageContent:
    """The image in a `data:` URL; `param` is the path of the URL in the request, for the 400 it may raise."""
    read = _data_url(said, _ACCEPTED, "image", param)
    place, content = _begun(read.data, "image", param)
    return ImageContent(ImageBlock(format=_sniff(content, param), source=place))


class _DataURL(NamedTuple):
    media_type: str
    data: LazyBase64


def _data_url(said: LazyBase64, what: str, kind: str, param: str) -> _DataURL:
    """The two parts of a base64 `data:` URL; `what` says which is wanted."""
    head, comma, data = said.text.partition(",")
    head = head.lower()
    if not head.startswith("data:"):
        raise _refuse(f"This is no place that can be read from here: send {what}.", param, kind)
    if not comma or not head.endswith(";base64"):
        raise _refuse(f"This is not {what}.", param, kind)
    return _DataURL(head.removeprefix("data:").partition(";")[0].strip(), LazyBase64(data, said.base64))


def _file_data(said: LazyBase64, param: str) -> tuple[MediaSource, bytes, str]:
    """The base64, its content and its media type ("" if unknown): clients send data: URLs and bare base64."""
    if said.text[:5].lower() == "data:":
        media_type, said = _data_url(said, "a data: URL with a base64 document", "document", param)
    elif _is_remote(said.text):
        raise _refuse("Documents are not fetched from URLs: send the document itself, in base64.", param, "document")
    else:
        media_type = ""
    if said.base64 is not None:
        return source(said.base64), binascii.a2b_base64(said.base64), media_type
    return *_decoded(said.text, "document", param), media_type


def _no_file_data(file_id: str | None, param: str) -> ApiError:
    if file_id is None:
        return invalid("A file needs 'file_data'.", f"{param}.file_data", "missing_required_parameter")
    message = "No files are kept here, so there is none to refer to: send the document itself in 'file_data'."
    return invalid(message, f"{param}.file_id", "unsupported_value")


def _begun(said: LazyBase64, kind: str, param: str) -> tuple[MediaSource, bytes]:
    """The base64 without line breaks, and the first bytes of what it stands for: no others are needed."""
    if said.base64 is not None:
        return source(said.base64), binascii.a2b_base64(said.base64[:_BEGINNING])
    return _decoded(said.text, kind, param)


def _decoded(data: str, kind: str, param: str) -> tuple[MediaSource, bytes]:
    """The base64 without line breaks, and what it stands for."""
    if not data.isascii():
        raise _refuse(f"The {kind}'s base64 is damaged: it has characters outside ASCII.", param, kind)
    data = data.translate(_WHITE_SPACE)
    try:
        content = binascii.a2b_base64(data, strict_mode=True)
    except binascii.Error as error:
        raise _refuse(f"The {kind}'s base64 is damaged: {error}.", param, kind) from error
    if len(data) != (len(content) + 2) // 3 * 4:
        raise _refuse(f"The {kind}'s base64 is damaged: there is too much padding.", param, kind)
    if not content and kind != "image":
        raise _refuse(f"The {kind} is empty.", param, kind)
    return MediaSource(data), content


def _sniff(content: bytes, param: str) -> ImageFormat:
    image = image_format(content)
    if image is not None:
        return image
    raise _refuse("These bytes are not an image that models take: send a PNG, JPEG, GIF or WebP.", param)


def _video_begins_like(content: bytes) -> VideoFormat | None:
    if content[4:8] == b"ftyp":
        brand = content[8:12]
        return "mov" if brand == b"qt  " else "three_gp" if brand.startswith(b"3g") else "mp4"
    if content.startswith(b"\x1a\x45\xdf\xa3"):
        return "webm" if b"webm" in content[:64] else "mkv"
    return "flv" if content.startswith(b"FLV") else None


def _by_end(uri: str, formats: Mapping[str, _F], kind: str, param: str) -> _F:
    """An object's format by the end of its name: nothing else is known of it here."""
    found = formats.get(uri.rpartition(".")[2].lower())
    if found is None:
        raise _refuse(f"The {kind}'s name must end in its format: {_list(tuple(formats))}.", param, kind)
    return found


def _short(raw: Raw, path: str) -> str:
    """The string that `raw` is; of a `data:` URL, nothing."""
    return "" if bytes(memoryview(raw)[:6]).lower() == b'"data:' else decode_at(raw, str, path)


def _is_remote(url: str) -> bool:
    return url[:8].lower().startswith(_REMOTE)


def _kinds(capabilities: Capabilities) -> str:
    """What models of a family take, for people to read."""
    kinds = {
        "images": capabilities.images,
        f"documents ({', '.join(capabilities.documents)})": capabilities.documents,
        f"videos ({', '.join(capabilities.video)})": capabilities.video,
        f"sound ({', '.join(capabilities.audio)})": capabilities.audio,
    }
    return _list(("text", *(kind for kind, taken in kinds.items() if taken)))


def _list(words: Sequence[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _refuse(message: str, param: str, kind: str = "image") -> ApiError:
    return invalid(message, param, f"invalid_{kind}")

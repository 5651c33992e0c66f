"""The endpoints that call Bedrock. A call knows how to ask and what to make of the answer; the exchange around it
authenticates, resolves the model, signs, sends and fails, the same way for all."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.catalogue import Target
from extproc.bedrock.sigv4 import model_path
from extproc.config import Settings
from extproc.exchange import translation
from extproc.exchange.jobs import MAX_ANSWER, Complete, Decoded, Fetch, FetchFailure, FetchResult, Plan, SideAnswer
from extproc.exchange.translation import LARGE_RESPONSE, Planned
from extproc.openai import embeddings as openai_embeddings
from extproc.openai.chat import ChatRequest, decode_request
from extproc.openai.chunks import ChunkEncoder
from extproc.openai.completion import Usage
from extproc.openai.embeddings import Detokeniser, EmbeddingsRequest, Format
from extproc.openai.errors import invalid
from extproc.payload import Payload
from extproc.translate import chat_answer, chat_request
from extproc.translate import embeddings as embeddings_translation
from extproc.translate.chat_sse import ChatSse, whole_stream
from extproc.translate.chat_stream import ChatStream
from extproc.translate.completed import Completed
from extproc.translate.media import RemoteImage, remote_images
from extproc.value import Value

_UNLIMITED = 1 << 62
MAX_FETCHED = 20
"""Images of one request that are fetched: as many as Converse takes."""


class Question(Value, frozen=True):
    """One POST to Bedrock."""

    path: str
    body: Payload
    accept: str = "application/json"
    max_answer: int = MAX_ANSWER
    """Bytes of the longest response to it."""
    digest: str | None = None
    """The body's SHA-256 in hex, where it is known."""


class Call(Protocol):
    """One request to one endpoint."""

    model: str
    """The id that the client asked for."""
    ignored: tuple[str, ...]
    """Fields of the request that change nothing; known once it has been asked."""

    def fetch(self, organisation: str = "", most: int = _UNLIMITED) -> Fetch | None:
        """What must be fetched for `organisation`, `most` bytes, before anything can be asked. Raises `ApiError`."""

    def fetched(self, result: FetchResult) -> int:
        """What came of it; returns the bytes that go out of it. Raises `ApiError` where it could not be had."""

    def ask(self, target: Target, capabilities: Capabilities) -> Sequence[Question]:
        """What to send: one question goes through Envoy, several go out as side calls. Once; raises `ApiError`."""

    def planning(self, target: Target, capabilities: Capabilities, organisation: str) -> Plan | None:
        """The job that does what `ask` does, where the request is large; None where it is not. Once."""

    def planned(self, result: Planned, target: Target) -> Sequence[Question]:
        """Return the questions to send, from the result of that job."""

    def completing(self, answers: Sequence[SideAnswer], organisation: str) -> Complete | None:
        """The job that does what `complete` does, where the responses are large; None where they are not."""

    def complete(self, answers: Sequence[tuple[Mapping[str, str], bytes]]) -> Completed:
        """The client's answer from Bedrock's, headers and body each, in the questions' order."""

    def stream(self) -> ChatSse | None:
        """What turns a streamed answer into chunks, if the client asked for a stream."""


class ChatCall:
    """POST /chat/completions."""

    def __init__(self, body: bytes | bytearray | Decoded, settings: Settings, call_id: str, now: float) -> None:
        """`body`: as it came, or as it has been decoded in another process."""
        request = None if isinstance(body, Decoded) else decode_request(body)
        self._decoded = body if isinstance(body, Decoded) else None
        self._request: ChatRequest | None = request
        """Until Bedrock is asked."""
        self._plan: chat_request.ChatPlan | None = None
        self._remote: dict[str, RemoteImage] = {}
        """Images at http(s) URLs, by URL."""
        self._images: dict[str, bytes] = {}
        self._most = 0
        """Bytes that all fetched images may have, each as often as it is named."""
        self._id = f"chatcmpl-{call_id}"
        self._created = int(now)
        self._truncation = settings.compat.streaming_truncation
        self._media = settings.media
        self.model = body.ready.model if isinstance(body, Decoded) else _model(request)
        self.ignored: tuple[str, ...] = ()

    def fetch(self, organisation: str = "", most: int = _UNLIMITED) -> Fetch | None:
        """The images that the messages name by http(s) URLs. Raises `ApiError` if they are too many.

        Nothing where the gateway fetches none: then the translation refuses them.
        """
        if self._decoded is not None:
            self._remote = self._decoded.ready.remote
        else:
            assert self._request is not None
            self._remote = remote_images(self._request.messages)
        if not self._remote or not self._media.fetch:
            return None
        urls = tuple(self._remote)
        if len(urls) > MAX_FETCHED:
            message = f"At most {MAX_FETCHED} images of a request are fetched: send the others as data: URLs."
            raise invalid(message, self._remote[urls[MAX_FETCHED]].path, "too_many_images")
        uses = sum([remote.uses for remote in self._remote.values()])
        self._most = max(0, min(self._media.total_bytes, uses * self._media.max_bytes, most))
        return Fetch(urls, self._media.max_bytes, self._most, self._media.concurrency, organisation)

    def fetched(self, result: FetchResult) -> int:
        """Take the images, and return how many bytes go out: an image counts as often as the messages name it.

        One that could not be had is a 400 at the path of its URL, and so is one whose repetition makes it too much.
        """
        urls = tuple(self._remote)
        if isinstance(result, FetchFailure):
            raise invalid(result.reason, self._remote[urls[result.index]].path, result.code)
        total = 0
        for url, image in zip(urls, result, strict=True):
            remote = self._remote[url]
            total += remote.uses * len(image.data)
            if total > self._most:
                message = (
                    f"The images of this request together have more than {self._most} bytes: an image that is repeated "
                    "counts each time. Send fewer, or smaller ones."
                )
                raise invalid(message, remote.path, "image_too_large")
        self._images = {url: image.data for url, image in zip(urls, result, strict=True)}
        return total

    def planning(self, target: Target, capabilities: Capabilities, organisation: str) -> Plan | None:
        """The job that translates a request which another process has decoded."""
        decoded, images = self._decoded, self._images
        if decoded is None:
            return None
        self._decoded, self._images = None, {}
        return Plan(decoded, self._taken(capabilities), target.foundation, images, organisation)

    def planned(self, result: Planned, target: Target) -> Sequence[Question]:
        """Converse, or ConverseStream, as it has been planned in another process."""
        assert result.chat is not None
        return self._questions(msgspec.structs.replace(result.chat, body=result.bodies[0]), target, result.digests[0])

    def ask(self, target: Target, capabilities: Capabilities) -> Sequence[Question]:
        """Converse, or ConverseStream."""
        assert self._request is not None
        return self._questions(chat_request.plan(self._request, self._taken(capabilities), self._images), target)

    def _taken(self, capabilities: Capabilities) -> Capabilities:
        if capabilities.s3_sources and not self._media.s3:
            return msgspec.structs.replace(capabilities, s3_sources=())
        return capabilities

    def _questions(self, plan: chat_request.ChatPlan, target: Target, digest: str | None = None) -> Sequence[Question]:
        self.ignored = plan.ignored
        # What may be large is let go: the answer is a while away.
        self._plan, self._request, self._images = msgspec.structs.replace(plan, body=b""), None, {}
        if plan.stream:
            path = model_path(target.model_id, "converse-stream")
            return [Question(path, plan.body, "application/vnd.amazon.eventstream", digest=digest)]
        return [Question(model_path(target.model_id, "converse"), plan.body, digest=digest)]

    def completing(self, answers: Sequence[SideAnswer], organisation: str) -> Complete | None:
        """None: Envoy brings the one response."""
        return None

    def complete(self, answers: Sequence[tuple[Mapping[str, str], bytes]]) -> Completed:
        """The `chat.completion`, or all of its chunks at once where the model could not stream them."""
        plan = self._plan
        assert plan is not None
        [(_, body)] = answers
        if plan.streamed:
            return whole_stream(body, self._stream(plan), self._encoder(plan))
        return chat_answer.answer(
            body, completion_id=self._id, created=self._created, model=self.model, shape=plan.shape
        )

    def stream(self) -> ChatSse | None:
        """The `chat.completion.chunk`s, where Bedrock streams them."""
        plan = self._plan
        if plan is None or not plan.stream:
            return None
        return ChatSse(self._stream(plan), self._encoder(plan))

    def _stream(self, plan: chat_request.ChatPlan) -> ChatStream:
        return ChatStream(shape=plan.shape, truncation=self._truncation)

    def _encoder(self, plan: chat_request.ChatPlan) -> ChunkEncoder:
        return ChunkEncoder(self._id, self._created, self.model, include_usage=plan.include_usage)


class EmbeddingsCall:
    """POST /embeddings."""

    def __init__(self, body: bytes | bytearray | Decoded, detokenise: Detokeniser) -> None:
        """`body`: as it came, or as it has been decoded in another process."""
        self._decoded = body if isinstance(body, Decoded) else None
        self._request: EmbeddingsRequest | None = None
        self._detokenise = detokenise
        self._format: Format | None = None
        self._foundation: str | None = None
        self._counts: tuple[int, ...] = ()
        self.ignored: tuple[str, ...] = ()
        if isinstance(body, Decoded):
            self.model, self.ignored = body.ready.model, body.ready.ignored
            self._format = body.ready.encoding_format
        else:
            request = self._request = openai_embeddings.decode(body)
            self.model = request.model
            self.ignored = () if request.user is None else ("user",)
            self._format = request.encoding_format

    def fetch(self, organisation: str = "", most: int = _UNLIMITED) -> Fetch | None:
        """Nothing: texts come with the request."""
        return None

    def fetched(self, result: FetchResult) -> int:
        """Nothing was asked for."""
        return 0

    def planning(self, target: Target, capabilities: Capabilities, organisation: str) -> Plan | None:
        """The job that translates a request which another process has decoded."""
        decoded, self._decoded = self._decoded, None
        return None if decoded is None else Plan(decoded, capabilities, target.foundation, {}, organisation)

    def planned(self, result: Planned, target: Target) -> Sequence[Question]:
        """InvokeModel, as often as the model needs for all the texts."""
        self._foundation, self._counts = target.foundation, result.counts
        path = model_path(target.model_id, "invoke")
        return [
            Question(path, body, max_answer=longest, digest=digest)
            for body, longest, digest in zip(result.bodies, result.max_answers, result.digests, strict=True)
        ]

    def ask(self, target: Target, capabilities: Capabilities) -> Sequence[Question]:
        """InvokeModel, as often as the model needs for all the texts."""
        assert self._request is not None
        plan = embeddings_translation.plan(self._request, target.foundation, self._detokenise)
        self._request, self._foundation, self._counts = None, target.foundation, plan.counts
        path = model_path(target.model_id, "invoke")
        return [
            Question(path, body, max_answer=embeddings_translation.max_answer(plan, count, body))
            for body, count in zip(plan.bodies, plan.counts, strict=True)
        ]

    def completing(self, answers: Sequence[SideAnswer], organisation: str) -> Complete | None:
        """The job that puts many vectors together."""
        if sum([len(answer.body) for answer in answers]) < LARGE_RESPONSE:
            return None
        return Complete(self.model, self._foundation, self._format, self._counts, tuple(answers), organisation)

    def complete(self, answers: Sequence[tuple[Mapping[str, str], bytes]]) -> Completed:
        """The list of vectors."""
        body, tokens = translation.complete(self.model, self._foundation, self._format, self._counts, answers)
        return Completed(body, Usage(prompt=tokens), "stop")

    def stream(self) -> ChatSse | None:
        """Embeddings do not stream."""
        return None


def _model(request: ChatRequest | None) -> str:
    assert request is not None
    return request.model

"""The endpoints that call Bedrock. A call knows how to ask and what to make of the answer; the exchange around it
authenticates, resolves the model, signs, sends and fails, the same way for all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from extproc.bedrock.catalogue import Target
from extproc.bedrock.sigv4 import model_path
from extproc.config import Settings
from extproc.openai import embeddings as openai_embeddings
from extproc.openai.chat import ChatRequest, Chunks, Usage, decode_request
from extproc.openai.embeddings import Detokeniser
from extproc.translate import chat_answer, chat_request
from extproc.translate import embeddings as embeddings_translation
from extproc.translate.chat_stream import ChatStream


@dataclass(frozen=True, slots=True)
class Question:
    """One POST to Bedrock."""

    path: str
    body: bytes
    accept: str = "application/json"


@dataclass(frozen=True, slots=True)
class Completed:
    """A whole answer for the client."""

    body: bytes
    usage: Usage
    finish: str


class Call(Protocol):
    """One request to one endpoint."""

    model: str
    """The id that the client asked for."""
    ignored: tuple[str, ...]
    """Fields of the request that change nothing."""

    def ask(self, target: Target) -> Sequence[Question]:
        """What to send: one question goes through Envoy, several go out as side calls. Raises `ApiError`."""

    def complete(self, answers: Sequence[tuple[Mapping[str, str], bytes]]) -> Completed:
        """The client's answer from Bedrock's, headers and body each, in the questions' order."""

    def stream(self) -> ChatStream | None:
        """What turns a streamed answer into chunks, if the client asked for a stream."""


class ChatCall:
    """POST /chat/completions."""

    def __init__(self, body: bytes, settings: Settings, call_id: str, now: float) -> None:
        self._request: ChatRequest = decode_request(body)
        self._plan = chat_request.plan(self._request)
        self._id = f"chatcmpl-{call_id}"
        self._created = int(now)
        self._truncation = settings.compat.streaming_truncation
        self.model = self._request.model
        self.ignored = self._plan.ignored

    def ask(self, target: Target) -> Sequence[Question]:
        """Converse, or ConverseStream."""
        if self._plan.stream:
            path = model_path(target.model_id, "converse-stream")
            return [Question(path, self._plan.body, "application/vnd.amazon.eventstream")]
        return [Question(model_path(target.model_id, "converse"), self._plan.body)]

    def complete(self, answers: Sequence[tuple[Mapping[str, str], bytes]]) -> Completed:
        """The `chat.completion`."""
        [(_, body)] = answers
        completion, usage, finish = chat_answer.answer(
            body,
            completion_id=self._id,
            created=self._created,
            model=self.model,
            answer_tool=self._plan.answer_tool,
        )
        return Completed(completion, usage, finish)

    def stream(self) -> ChatStream | None:
        """The `chat.completion.chunk`s."""
        if not self._plan.stream:
            return None
        chunks = Chunks(self._id, self._created, self.model, include_usage=self._plan.include_usage)
        return ChatStream(chunks, answer_tool=self._plan.answer_tool, truncation=self._truncation)


class EmbeddingsCall:
    """POST /embeddings."""

    def __init__(self, body: bytes, detokenise: Detokeniser) -> None:
        self._request = openai_embeddings.decode(body)
        self._detokenise = detokenise
        self._plan: embeddings_translation.Plan | None = None
        self.model = self._request.model
        self.ignored: tuple[str, ...] = () if self._request.user is None else ("user",)

    def ask(self, target: Target) -> Sequence[Question]:
        """InvokeModel, as often as the model needs for all the texts."""
        self._plan = embeddings_translation.plan(self._request, target.foundation, self._detokenise)
        path = model_path(target.model_id, "invoke")
        return [Question(path, body) for body in self._plan.bodies]

    def complete(self, answers: Sequence[tuple[Mapping[str, str], bytes]]) -> Completed:
        """The list of vectors."""
        assert self._plan is not None
        body, tokens = embeddings_translation.answer(self._request, self._plan, answers)
        return Completed(body, Usage(prompt=tokens), "stop")

    def stream(self) -> ChatStream | None:
        """Embeddings do not stream."""
        return None

"""Converse and ConverseStream: validate, compose, send."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from bedrock_local import completions, controls, frames, rules, shapes
from bedrock_local.calls import FINISHED
from bedrock_local.completions import Completion
from bedrock_local.controls import Controls
from bedrock_local.conversation import Conversation
from bedrock_local.delivery import deliver
from bedrock_local.errors import invalid
from bedrock_local.models import unsupported_action
from bedrock_local.state import Incoming, Local
from bedrock_local.stream import Pause, Player, disturbed


@dataclass(frozen=True, slots=True)
class _Turn:
    """A validated request: its completion, its directives, and the latency to report, in milliseconds."""

    conversation: Conversation
    controls: Controls
    completion: Completion
    latency: int

    @property
    def extra(self) -> dict[str, Any] | None:
        """Return the additionalModelResponseFields; a path to something that the response has not is ignored."""
        paths: Iterable[str] = self.conversation.request.get("additionalModelResponseFieldPaths", [])
        own: dict[str, dict[str, Any]] = {"/stop_sequence": {"stop_sequence": self.completion.stop_sequence}}
        if self.conversation.family.counts_thoughts:
            details = {"thinking_tokens": self.completion.thinking_tokens}
            own["/usage/output_tokens_details"] = {"usage": {"output_tokens_details": details}}
        asked = [fields for path, fields in own.items() if path in paths]
        return {key: value for fields in asked for key, value in fields.items()} or None

    @property
    def served(self) -> dict[str, Any]:
        """Return the members that Bedrock reports back: service tier (or the directive's), latency class, trace."""
        request, tier = self.conversation.request, self.controls.servicetier
        served: dict[str, Any] = {
            name: request[name] for name in ("serviceTier", "performanceConfig") if name in request
        }
        if request.get("guardrailConfig", {}).get("trace", "disabled") != "disabled":
            served["trace"] = {"guardrail": self._guarded(request["guardrailConfig"]["guardrailIdentifier"])}
        if self.controls.router is not None:
            served["trace"] = served.get("trace", {}) | {"promptRouter": {"invokedModelId": self._routed}}
        return served if tier is None else {**served, "serviceTier": {"type": tier}}

    @property
    def _routed(self) -> str:
        return f"arn:aws:bedrock:us-east-1::foundation-model/{self.controls.router}"

    def _guarded(self, guardrail: str) -> dict[str, Any]:
        """Return the guardrail's trace: it reads the user's last text, and intervenes if a directive orders that."""
        read, total = len(self.conversation.guarded_text()), len(self.conversation.last_text())
        coverage = {"textCharacters": {"guarded": read, "total": total}}
        metrics = {"guardrailProcessingLatency": 1, "guardrailCoverage": coverage}
        blocked = self.completion.stop_reason == "guardrail_intervened"
        return {
            "inputAssessment": {guardrail: {"invocationMetrics": metrics}},
            "actionReason": "Guardrail blocked." if blocked else "No action.",
        }


async def converse(local: Local, incoming: Incoming) -> web.StreamResponse:
    """Respond with one JSON body."""
    turn = _take_turn(local, incoming, "Converse")
    turn.controls.raise_exception()
    incoming.call.billed = turn.completion.usage
    body = frames.body(turn.completion, turn.latency, turn.extra, unknown=turn.controls.unknown)
    if turn.controls.nousage:
        del body["usage"]
    return await deliver(local, incoming, {**body, **turn.served}, turn.controls)


async def converse_stream(local: Local, incoming: Incoming) -> web.StreamResponse:
    """Respond with an event stream, a frame at a time."""
    turn = _take_turn(local, incoming, "ConverseStream")
    if not turn.conversation.model.streaming:
        raise invalid("The model is unsupported for streaming.")
    events = frames.events(turn.completion, turn.latency, turn.extra, turn.served)
    encoder = frames.Encoder(incoming.body)
    response = web.StreamResponse(headers=_stream_headers(incoming))
    transport = incoming.http.transport
    if transport is None:
        raise ConnectionResetError
    pace = local.pace if turn.controls.pace is None else turn.controls.pace
    player = Player(response, transport, incoming.call, turn.completion.usage, pace)
    if turn.controls.hold == "answer":
        await local.holds.wait(turn.controls.pause)
    with local.holds.point(turn.controls.hold not in (None, "answer"), turn.controls.pause) as hold:
        await response.prepare(incoming.http)
        pause = Pause(turn.controls.hold, hold, turn.controls.after)
        await player.play(disturbed(events, turn.controls), encoder, pause)
    incoming.call.end(FINISHED)
    return response


def _stream_headers(incoming: Incoming) -> dict[str, str]:
    return {"Content-Type": "application/vnd.amazon.eventstream", "x-amzn-RequestId": incoming.call.id}


def _take_turn(local: Local, incoming: Incoming, operation: str) -> _Turn:
    incoming.require_json()
    request = shapes.check(operation, shapes.read_json(incoming.body), modelId=incoming.identifier)
    model = local.shelf.resolve(incoming.identifier)
    if model.family is None or not model.family.converse:
        raise unsupported_action()
    conversation = Conversation(request, model, model.family, streaming=operation == "ConverseStream")
    rules.check(conversation)
    directives, text = controls.parse(conversation.last_text())
    directives.raise_status()
    completion = completions.compose(conversation, directives, text)
    return _Turn(conversation, directives, completion, round(1000 * local.pace * completion.usage["outputTokens"]) + 1)

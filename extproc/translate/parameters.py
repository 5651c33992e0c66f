"""The parameters of a request beside its messages and tools: limits, sampling, tier, latency, metadata, guardrail.

A field that the family does not take is rejected where its loss would change the result, and ignored (`Ignored`) where
that would be only a little different. A value that is every model's own default (temperature 1) loses nothing.

Decisions: docs/decisions.md, D20, D185, D186.
"""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, UnsetType

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.converse import GuardrailConfig, InferenceConfig, PerformanceConfig, ServiceTier
from extproc.bedrock.request_metadata import LONGEST, OWN, PAIRS, is_own
from extproc.openai.chat import ChatRequest, Guardrail
from extproc.openai.errors import ApiError, invalid
from extproc.openai.unknown import member_path
from extproc.translate.ignored import Ignored
from extproc.translate.model_fields import placed
from extproc.translate.reasoning import Reasoning
from extproc.translate.rules import NO_RULES, Rules
from extproc.value import Value

_TIERS = {"flex": "flex", "priority": "priority", "fast": "priority", "scale": "reserved", "reserved": "reserved"}
"""Bedrock's nearest tier for each of OpenAI's, which serves `fast` as `priority` too; `scale` is reserved capacity."""
_NO_TIER = ("auto", "default")

_METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]*", re.ASCII)
"""Characters of keys and values of `requestMetadata`."""
_LEAST_TOP_P = 0.95
"""Least `topP` that Claude accepts while it thinks."""


class Parameters(Value, frozen=True):
    """The members of a Converse request, and `fields` for its `additionalModelRequestFields`."""

    inference: InferenceConfig | UnsetType
    guardrail: GuardrailConfig | UnsetType
    performance: PerformanceConfig | UnsetType
    service_tier: ServiceTier | UnsetType
    metadata: dict[str, str] | UnsetType
    fields: Mapping[str, Any]


def plan_parameters(
    request: ChatRequest,
    capabilities: Capabilities,
    reasoning: Reasoning,
    ignored: Ignored,
    *,
    stream: bool,
    rules: Rules = NO_RULES,
) -> Parameters:
    """Return the parameters for a model of this family and this reasoning; raises a 400 `ApiError`.

    `stream`: whether Bedrock is called for a stream. `rules` are those of the caller's organisation.
    """
    return Parameters(
        inference=_inference(request, capabilities, reasoning, ignored, rules.max_tokens),
        guardrail=_guardrail(request, capabilities, stream, ignored, rules.guardrail),
        performance=_performance(request, capabilities),
        service_tier=_service_tier(request, capabilities),
        metadata=_metadata(request, ignored, rules.metadata),
        fields=_top_k(request, capabilities, reasoning, ignored),
    )


def _inference(
    request: ChatRequest, capabilities: Capabilities, reasoning: Reasoning, ignored: Ignored, ceiling: int | None
) -> InferenceConfig | UnsetType:
    temperature, top_p = _sampling(request, capabilities, reasoning, ignored)
    config = InferenceConfig(
        max_tokens=_max_tokens(request, capabilities, reasoning, ignored, ceiling),
        temperature=UNSET if temperature is None else temperature,
        top_p=UNSET if top_p is None else top_p,
        stop_sequences=_stops(request, capabilities, ignored) or UNSET,
    )
    return UNSET if config == InferenceConfig() else config


def _max_tokens(
    request: ChatRequest, capabilities: Capabilities, reasoning: Reasoning, ignored: Ignored, ceiling: int | None
) -> int | UnsetType:
    """Return the limit of tokens: the client's, or the family's. Raises a 400 `ApiError`.

    `ceiling` is the organisation's, which no call exceeds.
    """
    older, newer, limit = request.max_tokens, request.max_completion_tokens, request.token_limit
    if older is not None and newer is not None and older != newer:
        raise invalid(
            "'max_tokens' and 'max_completion_tokens' differ: send one of them.",
            "max_tokens",
            "invalid_value",
        )
    name = "max_tokens" if newer is None else "max_completion_tokens"
    if ceiling is not None:
        _check_ceiling(ceiling, limit, name, reasoning)
    if reasoning.lifts_limits:
        if limit is not None:
            ignored.add(name)
        return UNSET
    if limit is None:
        usual = capabilities.default_max_tokens or 0
        least = reasoning.least_tokens
        chosen = usual if reasoning.budget is None or usual > reasoning.budget else least
        return (chosen if ceiling is None else min(chosen or ceiling, ceiling)) or UNSET
    if limit < capabilities.min_max_tokens:
        ignored.add(name)
        return capabilities.min_max_tokens
    return limit


def _check_ceiling(ceiling: int, limit: int | None, name: str, reasoning: Reasoning) -> None:
    """Reject a request that may exceed the ceiling. Raises a 400 `ApiError`."""
    if limit is not None and limit > ceiling:
        raise invalid(f"'{name}' may be {ceiling} at most for your organisation.", name, "invalid_value")
    if reasoning.lifts_limits:
        raise invalid(
            f"At this effort the model takes no limit of tokens, and your organisation has one ({ceiling}): lower the "
            "effort.",
            "reasoning_effort",
            "unsupported_value",
        )


def _sampling(
    request: ChatRequest, capabilities: Capabilities, reasoning: Reasoning, ignored: Ignored
) -> tuple[float | None, float | None]:
    """Return the temperature and topP that may be sent."""
    temperature, top_p = request.temperature, request.top_p
    if capabilities.sampling == "none" or reasoning.lifts_limits:
        ignored.add(*_lost(temperature=temperature, top_p=top_p))
        return None, None
    if reasoning.ties_sampling:
        ignored.add(*_lost(temperature=temperature))
        temperature = None
        if top_p is not None and top_p < _LEAST_TOP_P:
            ignored.add("top_p")
            top_p = None
    if temperature is not None and temperature > capabilities.max_temperature:
        raise invalid(
            f"Models of the family '{capabilities.family}' take a temperature from 0 to "
            f"{capabilities.max_temperature:g}: send {capabilities.max_temperature:g} or less.",
            "temperature",
            "unsupported_value",
        )
    if capabilities.sampling == "one" and temperature is not None and top_p is not None:
        if temperature == 1:
            return None, top_p
        ignored.add(*_lost(top_p=top_p))
        return temperature, None
    return temperature, top_p


def _lost(**values: float | None) -> list[str]:
    """Return the names of the values whose loss makes a difference: 1 is the default of both."""
    return [name for name, value in values.items() if value is not None and value != 1]


def _stops(request: ChatRequest, capabilities: Capabilities, ignored: Ignored) -> list[str]:
    stops = [request.stop] if isinstance(request.stop, str) else request.stop or []
    stops = [stop for stop in stops if stop]
    if not capabilities.blank_stops:
        accepted = [stop for stop in stops if stop.strip()]
        if len(accepted) < len(stops):
            ignored.add("stop")
        stops = accepted
    if stops and not capabilities.stop_sequences:
        raise unsupported("take no stop sequences", capabilities, "stop")
    if len(stops) > capabilities.stop_sequences:
        raise invalid(
            f"Models of the family '{capabilities.family}' take {capabilities.stop_sequences} stop sequences at most.",
            "stop",
            "unsupported_value",
        )
    return stops


def _top_k(
    request: ChatRequest, capabilities: Capabilities, reasoning: Reasoning, ignored: Ignored
) -> Mapping[str, Any]:
    if request.top_k is None:
        return {}
    if not capabilities.top_k:
        raise unsupported("take no 'top_k'", capabilities, "top_k")
    if reasoning.ties_sampling or reasoning.lifts_limits:
        ignored.add("top_k")
        return {}
    return placed(capabilities.top_k, request.top_k)


def _service_tier(request: ChatRequest, capabilities: Capabilities) -> ServiceTier | UnsetType:
    requested = request.service_tier
    if requested is None or requested in _NO_TIER:
        return UNSET
    tier = _TIERS.get(requested)
    if tier is None or tier not in capabilities.service_tiers:
        known = [*_NO_TIER, *(name for name, tier in _TIERS.items() if tier in capabilities.service_tiers)]
        raise invalid(
            f"Models of the family '{capabilities.family}' are not served at the tier '{requested}': "
            f"use {_listed(known)}.",
            "service_tier",
            "unsupported_value",
        )
    return ServiceTier(tier)


def _listed(names: list[str]) -> str:
    *most, last = [f"'{name}'" for name in names]
    return f"{', '.join(most)} or {last}"


def _metadata(request: ChatRequest, ignored: Ignored, own: Mapping[str, str]) -> dict[str, str] | UnsetType:
    """Return `requestMetadata`, which AWS's invocation logs contain: the client's pairs, the user's id, and our `own`.

    A pair that Bedrock does not take is left out: OpenAI takes any characters, and only a log would contain them. One
    that could be taken for ours is rejected.
    """
    if request.metadata is None and request.user is None and request.safety_identifier is None:
        return {**own} if own else UNSET
    requested = request.metadata or {}
    most = PAIRS - len(own)
    if len(requested) > most:
        ours = f": of Bedrock's {PAIRS}, this gateway sets {len(own)}" if own else ""
        raise invalid(f"'metadata' has {most} pairs at most{ours}.", "metadata", "invalid_value")
    _check_keys(requested, own)
    pairs = {key: value for key, value in requested.items() if key and _fits(key) and _fits(value)}
    ignored.add(*[member_path("metadata", key) for key in requested if key not in pairs])
    for name in ("user", "safety_identifier"):
        user = getattr(request, name)
        if not user:
            continue
        if _fits(user) and name not in requested and name not in own and len(pairs) < most:
            pairs[name] = user
        else:
            ignored.add(name)
    return {**own, **pairs} if own else pairs or UNSET


def _check_keys(requested: Mapping[str, str], own: Mapping[str, str]) -> None:
    """Reject keys that are the gateway's. Raises a 400 `ApiError`."""
    for key in requested:
        if is_own(key):
            message = f"Keys of 'metadata' that begin with '{OWN}' are this gateway's: choose another name."
            raise invalid(message, "metadata", "invalid_value")
        if key in own:
            message = f"'{key}' of 'metadata' is set by the operator of this gateway: leave it out."
            raise invalid(message, member_path("metadata", key), "invalid_value")


def _fits(text: str) -> bool:
    return len(text) <= LONGEST and _METADATA.fullmatch(text) is not None


def _guardrail(
    request: ChatRequest,
    capabilities: Capabilities,
    stream: bool,
    ignored: Ignored,
    mandatory: tuple[str, str] | None,
) -> GuardrailConfig | UnsetType:
    """Return the guardrail: the client's, or the organisation's, of which a client's may only show more.

    Raises a 400 `ApiError`.
    """
    guardrail = request.guardrail_config
    if mandatory is not None:
        _check_guardrail(mandatory, guardrail, capabilities)
        if guardrail is None:
            return GuardrailConfig(*mandatory)
    if guardrail is None:
        return UNSET
    if not capabilities.guardrails:
        raise unsupported("take no guardrails", capabilities, "guardrailConfig")
    mode = guardrail.stream_processing_mode
    if mode is not None and not stream:
        ignored.add("guardrailConfig.streamProcessingMode")
        mode = None
    return GuardrailConfig(
        guardrail.guardrail_identifier,
        guardrail.guardrail_version,
        trace=guardrail.trace or UNSET,
        stream_processing_mode=mode or UNSET,
    )


def _check_guardrail(mandatory: tuple[str, str], requested: Guardrail | None, capabilities: Capabilities) -> None:
    """Reject what would evade the organisation's guardrail. Raises a 400 `ApiError`."""
    if not capabilities.guardrails:
        raise invalid(
            f"Your organisation's calls pass a guardrail, and models of the family '{capabilities.family}' take none: "
            "use another model.",
            "model",
            "unsupported_value",
        )
    if requested is None:
        return
    if (requested.guardrail_identifier, requested.guardrail_version) != mandatory:
        raise invalid(
            "Your organisation's calls pass a guardrail that the operator has chosen, and Bedrock takes one: leave "
            "'guardrailConfig' out.",
            "guardrailConfig",
            "invalid_value",
        )
    if requested.stream_processing_mode == "async":
        raise invalid(
            "Your organisation's guardrail reads a stream before the client does: leave 'streamProcessingMode' out.",
            "guardrailConfig.streamProcessingMode",
            "invalid_value",
        )


def _performance(request: ChatRequest, capabilities: Capabilities) -> PerformanceConfig | UnsetType:
    performance = request.performance_config
    if performance is None or performance.latency == "standard":
        return UNSET
    if not capabilities.optimized_latency:
        raise unsupported("have no optimised latency", capabilities, "performanceConfig")
    return PerformanceConfig(performance.latency)


def unsupported(what: str, capabilities: Capabilities, param: str) -> ApiError:
    """Return the 400 for a field that the family does not support."""
    message = f"Models of the family '{capabilities.family}' {what}: leave '{param}' out, or use another model."
    return invalid(message, param, "unsupported_parameter")

"""List and describe models and inference profiles, as AWS's control plane does."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from bedrock_local.errors import invalid
from bedrock_local.models import Model, Profile, Shelf

_DEFAULT_PAGE, _LARGEST_PAGE = 100, 1000

_FILTERS = {
    "byCustomizationType": ("FINE_TUNING", "CONTINUED_PRE_TRAINING", "DISTILLATION"),
    "byOutputModality": ("TEXT", "IMAGE", "EMBEDDING"),
    "byInferenceType": ("ON_DEMAND", "PROVISIONED"),
    "type": ("SYSTEM_DEFINED", "APPLICATION"),
}


def list_models(shelf: Shelf, query: Mapping[str, str]) -> dict[str, Any]:
    """Serve ListFoundationModels, with its four filters."""
    _check_filters(query)
    chosen = [model for model in shelf.models.values() if _passes(model, query)]
    return {"modelSummaries": [_model(shelf, model) for model in chosen]}


def get_model(shelf: Shelf, identifier: str) -> dict[str, Any]:
    """Serve GetFoundationModel."""
    return {"modelDetails": _model(shelf, shelf.foundation(identifier))}


def list_profiles(shelf: Shelf, query: Mapping[str, str]) -> dict[str, Any]:
    """Serve ListInferenceProfiles: filtered by type, in pages."""
    _check_filters(query)
    wanted = query.get("type")
    chosen = [profile for profile in shelf.profiles.values() if wanted in (None, profile.kind)]
    start, size = _position(query), _page_size(query)
    page: dict[str, Any] = {"inferenceProfileSummaries": [_profile(one) for one in chosen[start : start + size]]}
    if start + size < len(chosen):
        page["nextToken"] = base64.urlsafe_b64encode(f"from {start + size}".encode()).decode()
    return page


def get_profile(shelf: Shelf, identifier: str) -> dict[str, Any]:
    """Serve GetInferenceProfile."""
    return _profile(shelf.profile(identifier))


def _check_filters(query: Mapping[str, str]) -> None:
    for name, options in _FILTERS.items():
        if query.get(name) not in (None, *options):
            raise invalid(
                f"1 validation error detected: Value '{query[name]}' at '{name}' failed to satisfy constraint: "
                f"Member must satisfy enum value set: [{', '.join(options)}]"
            )


def _passes(model: Model, query: Mapping[str, str]) -> bool:
    if "byCustomizationType" in query:  # none of these models can be customised
        return False
    provider = query.get("byProvider", model.provider)
    return (
        provider.lower() == model.provider.lower()
        and query.get("byOutputModality", model.output[0]) in model.output
        and query.get("byInferenceType", model.inference[0]) in model.inference
    )


def _page_size(query: Mapping[str, str]) -> int:
    size = query.get("maxResults", str(_DEFAULT_PAGE))
    if not size.isdecimal() or not 1 <= int(size) <= _LARGEST_PAGE:
        raise invalid(
            f"1 validation error detected: Value '{size}' at 'maxResults' failed to satisfy constraint: Member must "
            f"have value between 1 and {_LARGEST_PAGE}"
        )
    return int(size)


def _position(query: Mapping[str, str]) -> int:
    if "nextToken" not in query:
        return 0
    try:
        word, _, number = base64.urlsafe_b64decode(query["nextToken"]).decode().partition(" ")
    except (binascii.Error, ValueError):
        word, number = "", ""
    if word != "from" or not number.isdecimal():
        raise invalid("The nextToken provided is invalid.")
    return int(number)


def _model(shelf: Shelf, model: Model) -> dict[str, Any]:
    lifecycle = {"status": "LEGACY" if model.legacy else "ACTIVE", "startOfLifeTime": model.started}
    if model.ended:
        lifecycle["endOfLifeTime"] = model.ended
    return {
        "modelArn": shelf.model_arn(model),
        "modelId": model.id,
        "modelName": model.name,
        "providerName": model.provider,
        "inputModalities": list(model.input),
        "outputModalities": list(model.output),
        "responseStreamingSupported": model.streaming,
        "customizationsSupported": [],
        "inferenceTypesSupported": list(model.inference),
        "modelLifecycle": lifecycle,
    }


def _profile(profile: Profile) -> dict[str, Any]:
    return {
        "inferenceProfileName": profile.name,
        "description": profile.description,
        "createdAt": profile.model.started,
        "updatedAt": profile.model.started,
        "inferenceProfileArn": profile.arn,
        "models": [{"modelArn": arn} for arn in profile.model_arns],
        "inferenceProfileId": profile.id,
        "status": "ACTIVE",
        "type": profile.kind,
    }

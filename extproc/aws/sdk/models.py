"""Asking AWS which models there are. The calls block."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session, get_session

from extproc.aws.listing import (
    LIST_MODELS,
    LIST_PROFILES,
    ListedModel,
    ListedProfile,
    Listing,
    ListingDeniedError,
    ListingError,
)
from extproc.bedrock.catalogue import APPLICATION, SYSTEM_DEFINED, Catalogue

_CLIENT = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "max_attempts": 3})
"""At most 3 * 25 s a call: a keeper that hangs would be a keeper that never refreshes."""


def fetch(region: str) -> Catalogue:
    """What Bedrock offers in `region` now; raises as `listed` does."""
    return listed(region).catalogue()


def listed(region: str, session: Session | None = None) -> Listing:
    """What Bedrock lists in `region` now. Blocks.

    Raises `ListingDeniedError`, or `ListingError` for all else that goes wrong.
    """
    try:
        return _listed(region, session or get_session())
    except ListingDeniedError:
        raise
    except Exception as error:  # botocore's own, or what comes of an answer that is not AWS's
        kind = _code(error) if isinstance(error, ClientError) else type(error).__name__
        raise ListingError(kind, str(error)) from error


def _listed(region: str, session: Session) -> Listing:
    client = session.create_client("bedrock", region_name=region, config=_CLIENT)
    denied: list[str] = []
    models: list[ListedModel] = []
    profiles: list[ListedProfile] = []
    with _noting(denied, LIST_MODELS):
        models = _models(client)
    with _noting(denied, LIST_PROFILES):
        profiles = _profiles(client)
    if denied:
        raise ListingDeniedError(tuple(denied))
    return Listing(region, tuple(models), tuple(profiles))


@contextmanager
def _noting(denied: list[str], action: str) -> Iterator[None]:
    """If what is done inside is not permitted, `action` goes on the list, and the next call is made all the same."""
    try:
        yield
    except ClientError as error:
        if _code(error) != "AccessDeniedException":
            raise
        denied.append(action)


def _models(client: Any) -> list[ListedModel]:
    """All foundation models. The answer has no pages."""
    return [_model(summary) for summary in client.list_foundation_models()["modelSummaries"]]


def _profiles(client: Any) -> list[ListedProfile]:
    """All active inference profiles. Without a type, AWS lists the system's only."""
    pages = client.get_paginator("list_inference_profiles")
    return [
        _profile(summary)
        for kind in (SYSTEM_DEFINED, APPLICATION)
        for page in pages.paginate(typeEquals=kind, PaginationConfig={"PageSize": 1000})
        for summary in page["inferenceProfileSummaries"]
        if summary.get("status", "ACTIVE") == "ACTIVE"
    ]


def _model(summary: Mapping[str, Any]) -> ListedModel:
    """A `FoundationModelSummary`, read leniently: live answers hold values that the service model does not know."""
    lifecycle = summary.get("modelLifecycle", {})
    return ListedModel(
        id=summary["modelId"],
        provider=summary.get("providerName", ""),
        outputs=frozenset(summary.get("outputModalities", ())),
        inputs=frozenset(summary.get("inputModalities", ("TEXT",))),
        inference=frozenset(summary.get("inferenceTypesSupported", ())),
        created=_unix(lifecycle.get("startOfLifeTime")),
        status=lifecycle.get("status", "ACTIVE"),
        streaming=summary.get("responseStreamingSupported", False),
    )


def _profile(summary: Mapping[str, Any]) -> ListedProfile:
    """An `InferenceProfileSummary`."""
    return ListedProfile(
        id=summary["inferenceProfileId"],
        arn=summary["inferenceProfileArn"],
        name=summary.get("inferenceProfileName", ""),
        foundations=_foundations(summary.get("models", ())),
        kind=summary.get("type", SYSTEM_DEFINED),
        created=_unix(summary.get("createdAt")),
    )


def _foundations(models: Iterable[Mapping[str, str]]) -> tuple[str, ...]:
    """The model ids in the ARNs of a profile, where each stands once for each region.

    Empty if one of them is not a foundation model, such as a custom one: then nobody can tell what is behind it.
    """
    parts = [model["modelArn"].partition(":foundation-model/") for model in models]
    return tuple(dict.fromkeys(name for _, _, name in parts)) if all(name for _, _, name in parts) else ()


def _unix(time: datetime | None) -> int:
    """Unix seconds; 0 for an unknown time."""
    return max(0, int(time.timestamp())) if time else 0


def _code(error: ClientError) -> str:
    """AWS's name for what went wrong."""
    return str(error.response.get("Error", {}).get("Code", ""))

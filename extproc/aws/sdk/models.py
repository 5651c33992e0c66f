"""ListFoundationModels and ListInferenceProfiles, by botocore. The calls block."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session, get_session

from extproc.aws.catalogue_keeper import LIST_MODELS, LIST_PROFILES, ListingDeniedError, ListingError
from extproc.bedrock.catalogue import Catalogue
from extproc.bedrock.credentials import Credentials
from extproc.bedrock.listing import APPLICATION, SYSTEM_DEFINED, FoundationModel, InferenceProfile, Listing
from extproc.bedrock.seed import catalogue_of

_CLIENT = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "max_attempts": 3})
"""At most 3 * 25 s a call: a keeper that hangs would never refresh."""


def fetch(region: str) -> Catalogue:
    """Return the catalogue of `region`; raises as `list_models` does."""
    return catalogue_of(list_models(region))


def list_models(region: str, session: Session | None = None, keys: Credentials | None = None) -> Listing:
    """List the models and inference profiles of `region`, by AWS's chain or by these `keys` alone. Blocks.

    Raises `ListingDeniedError`, or `ListingError` for any other failure.
    """
    try:
        return _list(region, session or get_session(), keys)
    except ListingDeniedError:
        raise
    except Exception as error:  # botocore's own, or that of a response which is not AWS's
        kind = _code(error) if isinstance(error, ClientError) else type(error).__name__
        raise ListingError(kind, str(error)) from error


def _client(region: str, session: Session, keys: Credentials | None) -> Any:
    if keys is None:
        return session.create_client("bedrock", region_name=region, config=_CLIENT)
    # An API key of Bedrock in the environment comes before any keys, unless the kind of signature is named.
    config = _CLIENT.merge(Config(signature_version="v4"))
    return session.create_client(
        "bedrock",
        region_name=region,
        config=config,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        aws_session_token=keys.session_token,
    )


def _list(region: str, session: Session, keys: Credentials | None) -> Listing:
    client = _client(region, session, keys)
    denied: list[str] = []
    models: list[FoundationModel] = []
    profiles: list[InferenceProfile] = []
    with _collecting(denied, LIST_MODELS):
        models = _models(client)
    with _collecting(denied, LIST_PROFILES):
        profiles = _profiles(client)
    if denied:
        raise ListingDeniedError(tuple(denied))
    return Listing(region, tuple(models), tuple(profiles))


@contextmanager
def _collecting(denied: list[str], action: str) -> Iterator[None]:
    """Add `action` to the list if the call inside is denied, so that the next call is made all the same."""
    try:
        yield
    except ClientError as error:
        if _code(error) != "AccessDeniedException":
            raise
        denied.append(action)


def _models(client: Any) -> list[FoundationModel]:
    """List all foundation models. The response has no pages."""
    return [_model(summary) for summary in client.list_foundation_models()["modelSummaries"]]


def _profiles(client: Any) -> list[InferenceProfile]:
    """List all active inference profiles. Without a type, AWS lists system-defined ones only."""
    pages = client.get_paginator("list_inference_profiles")
    return [
        _profile(summary)
        for kind in (SYSTEM_DEFINED, APPLICATION)
        for page in pages.paginate(typeEquals=kind, PaginationConfig={"PageSize": 1000})
        for summary in page["inferenceProfileSummaries"]
        if summary.get("status", "ACTIVE") == "ACTIVE"
    ]


def _model(summary: Mapping[str, Any]) -> FoundationModel:
    """Read a `FoundationModelSummary` leniently: live responses contain values that the service model does not know."""
    lifecycle = summary.get("modelLifecycle", {})
    return FoundationModel(
        id=summary["modelId"],
        outputs=frozenset(summary.get("outputModalities", ())),
        inputs=frozenset(summary.get("inputModalities", ("TEXT",))),
        inference=frozenset(summary.get("inferenceTypesSupported", ())),
        created=_unix(lifecycle.get("startOfLifeTime")),
        shutdown=_date(lifecycle.get("endOfLifeTime")),
    )


def _profile(summary: Mapping[str, Any]) -> InferenceProfile:
    """Read an `InferenceProfileSummary`."""
    return InferenceProfile(
        id=summary["inferenceProfileId"],
        arn=summary["inferenceProfileArn"],
        foundations=_foundations(summary.get("models", ())),
        kind=summary.get("type", SYSTEM_DEFINED),
        created=_unix(summary.get("createdAt")),
        regions=_regions(summary.get("models", ())),
    )


def _regions(models: Iterable[Mapping[str, str]]) -> tuple[str, ...]:
    """Return the regions in the ARNs of a profile's models, each once; a global profile has an ARN without one."""
    parts = [model["modelArn"].split(":") for model in models]
    return tuple(dict.fromkeys(part[3] if len(part) > 3 else "" for part in parts))


def _foundations(models: Iterable[Mapping[str, str]]) -> tuple[str, ...]:
    """Return the model ids in the ARNs of a profile, which lists each once for each region.

    Empty if one of them is not a foundation model, such as a custom one: then the model behind it is not known.
    """
    parts = [model["modelArn"].partition(":foundation-model/") for model in models]
    return tuple(dict.fromkeys(name for _, _, name in parts)) if all(name for _, _, name in parts) else ()


def _unix(time: datetime | None) -> int:
    """Return Unix seconds; 0 for an unknown time."""
    return max(0, int(time.timestamp())) if time else 0


def _date(time: datetime | None) -> str:
    """Return the date in UTC; empty for an unknown time."""
    return time.astimezone(UTC).date().isoformat() if time else ""


def _code(error: ClientError) -> str:
    """Return AWS's error code."""
    return str(error.response.get("Error", {}).get("Code", ""))

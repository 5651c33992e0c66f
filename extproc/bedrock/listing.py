"""Asking AWS which models there are, and keeping the answer.

A `CatalogueKeeper` always has a catalogue to give: the built-in one (seed.json) until AWS has answered once, then
the last answer, however old, until there is a newer one. When AWS does not answer, that is logged once, with the
reason, and once more when it does again; never once per attempt.

The calls block (boto3): they are for a thread of their own, which `start` makes.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from importlib import resources
from typing import Any

import boto3
import msgspec
from botocore.config import Config
from botocore.exceptions import ClientError

from extproc.bedrock.catalogue import (
    APPLICATION,
    ON_DEMAND,
    SYSTEM_DEFINED,
    Catalogue,
    Model,
    Profile,
    geographies,
)

log = logging.getLogger(__name__)

LIST_MODELS = "bedrock:ListFoundationModels"
LIST_PROFILES = "bedrock:ListInferenceProfiles"

FIRST_RETRY_SECONDS = 15.0
"""After a failure; each further one doubles it, up to the interval between refreshes."""

_CLIENT = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "max_attempts": 3})
"""At most 3 * 25 s a call: a keeper that hangs would be a keeper that never refreshes."""


class ListingDeniedError(Exception):
    """The gateway's AWS identity may not list models; `actions` are the IAM actions that it lacks."""

    def __init__(self, actions: tuple[str, ...]) -> None:
        super().__init__(f"the gateway's AWS identity may not list models: allow it {' and '.join(actions)}")
        self.actions = actions


def fetch(region: str, session: boto3.Session | None = None) -> Catalogue:
    """What Bedrock offers in `region` now. Blocks.

    Raises `ListingDeniedError`, botocore's own errors, or KeyError for an answer that is not AWS's.
    """
    client = (session or boto3.Session(region_name=region)).client("bedrock", region_name=region, config=_CLIENT)
    denied: list[str] = []
    models: list[Model] = []
    profiles: list[Profile] = []
    with _noting(denied, LIST_MODELS):
        models = _models(client)
    with _noting(denied, LIST_PROFILES):
        profiles = _profiles(client)
    if denied:
        raise ListingDeniedError(tuple(denied))
    return Catalogue.build(models, profiles, region)


def seed(region: str) -> Catalogue:
    """The built-in list, cut to what `region` can call. From a file of this package."""
    models, profiles = [], []
    for known in _seed_file().models:
        here = known.on_demand if isinstance(known.on_demand, bool) else region in known.on_demand
        inference = frozenset({ON_DEMAND} if here else {"INFERENCE_PROFILE"})
        outputs = frozenset(known.outputs)
        models.append(Model(known.id, known.provider, outputs, frozenset(known.inputs), inference))
        profiles += [
            Profile(id=f"{geography}.{known.id}", arn="", name=f"{geography} {known.id}", foundations=(known.id,))
            for geography in known.profiles
            if geography in geographies(region)
        ]
    return Catalogue.build(models, profiles, region)


class CatalogueKeeper:
    """Keeps one region's catalogue fresh. `current` is at once and never fails; `listener` is told of each new one.

    The listener is called from the keeper's thread, and must not raise.
    """

    def __init__(
        self,
        region: str,
        refresh_seconds: float,
        listener: Callable[[Catalogue], None],
        *,
        fetch: Callable[[str], Catalogue] = fetch,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        """`wait` blocks for so many seconds, or until `stop`, and says whether it was stopped."""
        self.current = seed(region)
        self.attempted = threading.Event()
        """Set once AWS has been asked for the first time, whatever came of it."""
        self._region = region
        self._interval = refresh_seconds
        self._listener = listener
        self._fetch = fetch
        self._stopped = threading.Event()
        self._wait = wait or self._stopped.wait
        self._seeded = True
        self._failures = 0
        self._trouble: str | None = None

    def start(self) -> None:
        """Refresh now and from then on, in a thread that does not keep the process alive."""
        threading.Thread(target=self.run, name="catalogue", daemon=True).start()

    def stop(self) -> None:
        """Refresh no more."""
        self._stopped.set()

    def run(self) -> None:
        """What the thread does: refresh, wait, and so on until `stop`."""
        delay = self.refresh()
        while not self._wait(delay):
            delay = self.refresh()

    def refresh(self) -> float:
        """Ask AWS once; gives the seconds after which to ask again."""
        try:
            catalogue = self._fetch(self._region)
        except Exception as error:  # whatever it is, the thread and the catalogue outlive it
            self._keep(error)
        else:
            self._replace(catalogue)
        self.attempted.set()
        if not self._failures:
            return self._interval
        return min(self._interval, FIRST_RETRY_SECONDS * 2.0 ** min(self._failures - 1, 30))

    def _replace(self, catalogue: Catalogue) -> None:
        """AWS has answered."""
        if self._trouble:
            log.info("listing Bedrock's models in %s works again", self._region)
        self.current = catalogue
        self._trouble, self._failures, self._seeded = None, 0, False
        self._listener(catalogue)

    def _keep(self, error: Exception) -> None:
        """AWS has not answered: say so if it is news."""
        self._failures += 1
        trouble = _trouble(error)
        if trouble == self._trouble:
            return
        self._trouble = trouble
        using = f"the built-in list of {_seed_file().date}" if self._seeded else "the last list"
        log.warning("no list of Bedrock's models in %s, using %s (%s: %s)", self._region, using, trouble, error)


class _SeedModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of seed.json. `on_demand`: in every region, in none, or in these; `profiles`: of these geographies."""

    id: str
    provider: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    on_demand: bool | tuple[str, ...]
    profiles: tuple[str, ...]


class _Seed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    about: tuple[str, ...]
    date: str
    models: tuple[_SeedModel, ...]


def _seed_file() -> _Seed:
    """seed.json; where it comes from stands in it."""
    return msgspec.json.decode(resources.files("extproc.bedrock").joinpath("seed.json").read_bytes(), type=_Seed)


@contextmanager
def _noting(denied: list[str], action: str) -> Iterator[None]:
    """If what is done inside is not permitted, `action` goes on the list, and the next call is made all the same."""
    try:
        yield
    except ClientError as error:
        if _code(error) != "AccessDeniedException":
            raise
        denied.append(action)


def _models(client: Any) -> list[Model]:
    """All foundation models. The answer has no pages."""
    return [_model(summary) for summary in client.list_foundation_models()["modelSummaries"]]


def _profiles(client: Any) -> list[Profile]:
    """All active inference profiles. Without a type, AWS lists the system's only."""
    pages = client.get_paginator("list_inference_profiles")
    return [
        _profile(summary)
        for kind in (SYSTEM_DEFINED, APPLICATION)
        for page in pages.paginate(typeEquals=kind, PaginationConfig={"PageSize": 1000})
        for summary in page["inferenceProfileSummaries"]
        if summary.get("status", "ACTIVE") == "ACTIVE"
    ]


def _model(summary: Mapping[str, Any]) -> Model:
    """A `FoundationModelSummary`, read leniently: live answers hold values that the service model does not know."""
    lifecycle = summary.get("modelLifecycle", {})
    return Model(
        id=summary["modelId"],
        provider=summary.get("providerName", ""),
        outputs=frozenset(summary.get("outputModalities", ())),
        inputs=frozenset(summary.get("inputModalities", ("TEXT",))),
        inference=frozenset(summary.get("inferenceTypesSupported", ())),
        created=_unix(lifecycle.get("startOfLifeTime")),
        status=lifecycle.get("status", "ACTIVE"),
        streaming=summary.get("responseStreamingSupported", False),
    )


def _profile(summary: Mapping[str, Any]) -> Profile:
    """An `InferenceProfileSummary`."""
    return Profile(
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


def _trouble(error: Exception) -> str:
    """What tells one kind of failure from another: AWS's code if there is one, else the exception's name."""
    return _code(error) if isinstance(error, ClientError) else type(error).__name__

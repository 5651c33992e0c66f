"""Which models AWS lists, and keeping that list.

A `CatalogueKeeper` always has a catalogue to give: the built-in one (seed.json) until AWS has answered once, then
the last answer, however old, until there is a newer one. When AWS does not answer, that is logged once, with the
reason, and once more when it does again; never once per attempt.

Asking blocks (`extproc.aws.sdk.models`): it is for a thread of its own, which `start` makes.
"""

import logging
import threading
from collections.abc import Callable
from importlib import resources

import msgspec

from extproc.bedrock.catalogue import ON_DEMAND, Catalogue, Model, Profile, geographies

log = logging.getLogger(__name__)

LIST_MODELS = "bedrock:ListFoundationModels"
LIST_PROFILES = "bedrock:ListInferenceProfiles"

FIRST_RETRY_SECONDS = 15.0
"""After a failure; each further one doubles it, up to the interval between refreshes."""


class ListingDeniedError(Exception):
    """The gateway's AWS identity may not list models; `actions` are the IAM actions that it lacks."""

    def __init__(self, actions: tuple[str, ...]) -> None:
        super().__init__(f"the gateway's AWS identity may not list models: allow it {' and '.join(actions)}")
        self.actions = actions


class ListingError(Exception):
    """AWS did not list its models; `kind` tells one kind of failure from another: AWS's code, or botocore's name."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class ListedModel(msgspec.Struct, frozen=True):
    """What a `Model` is made of."""

    id: str
    provider: str
    outputs: frozenset[str]
    inputs: frozenset[str]
    inference: frozenset[str]
    created: int
    status: str
    streaming: bool


class ListedProfile(msgspec.Struct, frozen=True):
    """What a `Profile` is made of."""

    id: str
    arn: str
    name: str
    foundations: tuple[str, ...]
    kind: str
    created: int


class Listing(msgspec.Struct, frozen=True):
    """What AWS lists in one region, as it goes from one process to another."""

    region: str
    models: tuple[ListedModel, ...]
    profiles: tuple[ListedProfile, ...]

    def catalogue(self) -> Catalogue:
        """The same, to look things up in."""
        models = [Model(**msgspec.structs.asdict(listed)) for listed in self.models]
        profiles = [Profile(**msgspec.structs.asdict(listed)) for listed in self.profiles]
        return Catalogue.build(models, profiles, self.region, [known.id for known in _seed_file().models])


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
        fetch: Callable[[str], Catalogue],
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        """`fetch` asks AWS for a region's, and may raise anything.

        `wait` blocks for so many seconds, or until `stop`, and says whether it was stopped.
        """
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


def _trouble(error: Exception) -> str:
    """What tells one kind of failure from another."""
    return error.kind if isinstance(error, ListingError) else type(error).__name__

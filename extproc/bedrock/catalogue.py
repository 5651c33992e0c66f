"""The models of one region of Bedrock: what there is, and what to call when somebody asks for one of them.

Bedrock knows a model under many ids. A *foundation model* (`anthropic.claude-sonnet-4-6`) is called by that id where
it is offered on demand; most newer ones are offered through an *inference profile* only, whose id is a geography and
the model's id (`eu.anthropic.claude-sonnet-4-6`, `global.…`) and which spreads the calls over that geography.
*Application profiles* are an account's own, made to tell costs apart, and are called by their ARN. ARNs of
provisioned, custom and imported models and of prompt routers do not tell what model is behind them.

A `Catalogue` is an immutable snapshot of the first three, and answers two questions: what may serve the id somebody
asks for (`targets`), and what can be listed (`entries`). It is pure: `extproc.aws.listing` asks AWS.

Invariant: `targets` gives at least one target for any string at all, and never raises; a model's own id is only ever
served by that model: by itself, or by a listed system profile of the region's geography or the global one.

Sources: the API reference of ListFoundationModels and ListInferenceProfiles;
https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html (geographies, source regions).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from extproc.bedrock.model_ids import LONGEST_REMEMBERED

ON_DEMAND = "ON_DEMAND"
SYSTEM_DEFINED = "SYSTEM_DEFINED"
APPLICATION = "APPLICATION"

GLOBAL = "global"

GEOGRAPHIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("us-gov-", ("us-gov",)),
    ("us-", ("us", GLOBAL)),
    ("ca-", ("ca", "us", GLOBAL)),
    ("mx-", ("mx", "us", GLOBAL)),
    ("sa-", ("sa", "us", GLOBAL)),
    ("eu-", ("eu", GLOBAL)),
    ("il-", ("il", "eu", GLOBAL)),
    ("ap-northeast-1", ("jp", "apac", GLOBAL)),
    ("ap-northeast-3", ("jp", "apac", GLOBAL)),
    ("ap-southeast-2", ("au", "apac", GLOBAL)),
    ("ap-southeast-4", ("au", "apac", GLOBAL)),
    ("ap-south-", ("in", "apac", GLOBAL)),
    ("ap-", ("apac", GLOBAL)),
    ("me-", ("me", "apac", GLOBAL)),
    ("", (GLOBAL,)),
)
"""Start of a region's name -> the geographies its profiles may be of, nearest first. The first row that fits counts.

Only profiles that AWS lists for the region are ever chosen, so a row may name more than there is today.
"""

PREFIXES = frozenset(name for _, names in GEOGRAPHIES for name in names) | {"amer"}
"""What may stand before the first dot of a profile's id."""


@dataclass(frozen=True, slots=True)
class Model:
    """A foundation model, as ListFoundationModels gives it. `created` is in Unix seconds, 0 if AWS does not say."""

    id: str
    provider: str
    outputs: frozenset[str]
    inputs: frozenset[str] = frozenset({"TEXT"})
    inference: frozenset[str] = frozenset({ON_DEMAND})
    created: int = 0
    status: str = "ACTIVE"
    streaming: bool = True

    @property
    def served(self) -> bool:
        """Whether it takes text and answers with text or embeddings (a reranker, which scores, does neither)."""
        return "TEXT" in self.inputs and bool(self.outputs & {"TEXT", "EMBEDDING"}) and ".rerank-" not in self.id


@dataclass(frozen=True, slots=True)
class Profile:
    """An inference profile, as ListInferenceProfiles gives it. `kind` is SYSTEM_DEFINED or APPLICATION.

    The `arn` carries an account's number, and is empty where no account was asked (the built-in list).
    """

    id: str
    arn: str
    name: str
    foundations: tuple[str, ...]
    kind: str = SYSTEM_DEFINED
    created: int = 0

    @property
    def foundation(self) -> str | None:
        """The one model behind it; None if there are several, so that no rule about one of them lets in another."""
        return self.foundations[0] if len(set(self.foundations)) == 1 else None


@dataclass(frozen=True, slots=True)
class Target:
    """What to call: an id or ARN, not encoded, and the foundation model behind it (None: nobody can tell).

    `guessed` is true where `foundation` is only what the form of an id suggests: the id is not listed, and it is not a
    known geography with a known model either. A guess is good enough to look up capabilities, and too weak for a rule
    that forbids a model.
    """

    model_id: str
    foundation: str | None
    guessed: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of `GET /models`. `created` is in Unix seconds."""

    id: str
    created: int
    owned_by: str
    targets: tuple[Target, ...]


def profile_id(name: str) -> str | None:
    """The profile's id in the ARN of a system-defined inference profile; None for anything else."""
    match = _ARN.fullmatch(name)
    return match["name"] if match and match["kind"] == "inference-profile" else None


def geographies(region: str) -> tuple[str, ...]:
    """What the ids of the profiles that may stand in for a model of this region begin with, nearest first."""
    return next(names for start, names in GEOGRAPHIES if region.startswith(start))


_ARN = re.compile(r"arn:[^:]*:bedrock:(?P<region>[^:]*):[^:]*:(?P<kind>[a-z-]+)/(?P<name>.+)", re.DOTALL)

_CONTEXT = re.compile(r"(?P<base>.+)(?P<revision>:[0-9]{1,4}):[0-9a-z]{1,8}", re.DOTALL)
"""`amazon.nova-lite-v1:0:300k`: a context size, which matters to provisioned throughput only."""


_REMEMBERED = 1024

_NOTHING = (None, False)
"""No model can be named, not even by a guess."""


class Catalogue:
    """What Bedrock offers in one region, at one time."""

    def __init__(
        self, models: Iterable[Model], profiles: Iterable[Profile], region: str, elsewhere: Iterable[str] = ()
    ) -> None:
        """`elsewhere` are ids of foundation models that other regions have."""
        self.region = region
        self._models = {model.id: model for model in models}
        self._known = self._models.keys() | elsewhere
        listed = {profile.id: profile for profile in profiles}
        self._profiles = listed | {profile.arn: profile for profile in listed.values() if profile.arn}
        self._by_geography = {
            (profile.id.partition(".")[0], profile.foundation): profile
            for profile in listed.values()
            if profile.kind == SYSTEM_DEFINED and profile.foundation
        }
        self._answered: dict[str, tuple[Target, ...]] = {}
        """What `targets` said of late: callers ask for the same few ids again and again."""
        self._entries = tuple(sorted(self._list(listed.values()), key=lambda entry: entry.id))

    @classmethod
    def build(
        cls, models: Iterable[Model], profiles: Iterable[Profile], region: str, elsewhere: Iterable[str] = ()
    ) -> "Catalogue":
        """The catalogue of `region`, from what AWS lists there, and ids of models that there are `elsewhere`."""
        return cls(models, profiles, region, elsewhere)

    def model(self, foundation_id: str) -> Model | None:
        """What is known of a foundation model."""
        return self._models.get(foundation_id)

    def entries(self) -> tuple[Entry, ...]:
        """All that can be called for chat or embeddings, by id.

        That is: models on demand, or by their own id through a profile; system profiles; application profiles,
        by their ARN. Models that are provisioned only, or make images or video only, are not among them.
        """
        return self._entries

    def targets(self, asked: str) -> tuple[Target, ...]:
        """What `asked` may be served by, best first; an unknown id is its own single target."""
        remembered = self._answered.get(asked)
        if remembered is not None:
            return remembered
        targets = self._targets(asked)
        if len(asked) <= LONGEST_REMEMBERED:
            if len(self._answered) >= _REMEMBERED:  # somebody makes ids up
                self._answered.clear()
            self._answered[asked] = targets
        return targets

    def _targets(self, asked: str) -> tuple[Target, ...]:
        arn = _ARN.fullmatch(asked)
        if arn:
            return self._arn_targets(asked, arn["kind"], arn["region"], arn["name"])
        profile = self._profiles.get(asked)
        if profile:
            return (Target(asked, profile.foundation),)
        return self._model_targets(asked) or (Target(asked, *self._behind(asked)),)

    def _arn_targets(self, asked: str, kind: str, region: str, name: str) -> tuple[Target, ...]:
        """The targets of an ARN. Only that of a foundation model of this region is resolved further."""
        if kind == "foundation-model":
            found = self._model_targets(name) if region in ("", self.region) else ()
            return found or (Target(asked, *self._behind(name)),)
        profile = self._profiles.get(asked)
        if profile:
            return (Target(asked, profile.foundation),)
        return (Target(asked, *(self._behind(name) if kind == "inference-profile" else _NOTHING)),)

    def _model_targets(self, asked: str) -> tuple[Target, ...]:
        """The targets of a foundation model's id, with or without a context size; none if nothing can be called."""
        names = (asked, *_without_context(asked))
        return next(filter(None, map(self._callable, names)), ())

    def _callable(self, foundation: str) -> tuple[Target, ...]:
        """The model itself if it is on demand, then the profiles that may stand in for it."""
        model = self._models.get(foundation)
        alone = (Target(foundation, foundation),) if model and ON_DEMAND in model.inference else ()
        return alone + tuple(Target(profile.id, foundation) for profile in self._nearest(foundation))

    def _nearest(self, foundation: str) -> list[Profile]:
        """The listed system profiles that may stand in for a model of this region, nearest geography first."""
        nearest = (self._by_geography.get((name, foundation)) for name in geographies(self.region))
        return [profile for profile in nearest if profile]

    def _behind(self, name: str) -> tuple[str | None, bool]:
        """The model behind an id that is not listed, as far as its form tells, and whether that is a guess.

        An id with a dot is a model's or a system profile's. One without (`a1b2c3d4e5f6`) names a resource of an
        account, such as a provisioned model, and does not identify the model; nor does an ARN of any other form.
        """
        head, _, rest = name.partition(".")
        if head[:4].lower() == "arn:":
            return _NOTHING
        of_a_profile = head in PREFIXES or rest in self._known
        if of_a_profile:
            name = rest
        if "." not in name:
            return _NOTHING
        bases = _without_context(name)
        foundation = next((base for base in bases if base in self._known), bases[0] if bases else name)
        return foundation, foundation not in self._known or (of_a_profile and head not in PREFIXES)

    def _list(self, profiles: Iterable[Profile]) -> Iterable[Entry]:
        """The entries, in no order."""
        for model in self._models.values():
            targets = self._callable(model.id)
            if model.served and targets:
                yield Entry(model.id, model.created, _owner(model.id), targets)
        for profile in profiles:
            behind = self._models.get(profile.foundation or "")
            if behind is None or behind.served:
                name = profile.arn if profile.kind == APPLICATION else profile.id
                yield Entry(name, profile.created, _owner(profile.foundation), self.targets(name))


def _without_context(name: str) -> tuple[str, ...]:
    """What an id with a context size may be the same model as: `v1:0:300k` -> `v1:0`, `v1`."""
    match = _CONTEXT.fullmatch(name)
    return (match["base"] + match["revision"], match["base"]) if match else ()


def _owner(foundation: str | None) -> str:
    """Who made the model, as its id says: `anthropic`, `amazon`, `cohere`."""
    return foundation.partition(".")[0] if foundation else "aws"

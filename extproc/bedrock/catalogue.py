"""The models of one region of Bedrock, and the targets to call for each model id.

Bedrock has several ids for a model. A *foundation model* (`anthropic.claude-sonnet-4-6`) is called by that id where
it is offered on demand; most newer ones are offered through an *inference profile* only, whose id is a geography and
the model's id (`eu.anthropic.claude-sonnet-4-6`, `global.…`) and which spreads the calls over that geography.
*Application profiles* are an account's own, made to tell costs apart, and are called by their ARN. ARNs of
provisioned, custom and imported models and of prompt routers do not identify the model behind them.

A `Catalogue` is an immutable snapshot of the first three. `targets` returns what may serve an id, `entries` what can be
listed. It does no I/O: `extproc.aws.catalogue_keeper` keeps it up to date.

Invariants: `targets` returns at least one target for any string, and never raises; a model's own id is served only by
that model: by itself, or by a listed system profile of the region's geography or the global one. What resolves to
another id than was asked for has no text of a caller's own: it is a model's id, with or without a context size of a
form that AWS has, or its ARN in this region.

Sources: the API reference of ListFoundationModels and ListInferenceProfiles;
https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html (geographies, source regions).

Decisions: docs/decisions.md, D216, D326.
"""

import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from extproc.bedrock.listing import APPLICATION, ON_DEMAND, SYSTEM_DEFINED, FoundationModel, InferenceProfile
from extproc.bedrock.model_ids import ANY_PARTITION, LONGEST_REMEMBERED, partition

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
"""Start of a region's name -> the geographies of its profiles, nearest first. The first row that matches counts.

Only profiles that AWS lists for the region are chosen, so a row may name more than exist today.
"""

PREFIXES = frozenset(name for _, names in GEOGRAPHIES for name in names) | {"amer"}
"""Geographies: a profile's id begins with one of them and a dot."""


@dataclass(frozen=True, slots=True)
class Target:
    """A model to call: an id or ARN, not encoded, and the foundation model behind it (None if it is unknown).

    `guessed` is true where only the form of the id suggests `foundation`: the id is neither listed nor a known
    geography with a known model. A guess suffices to look up capabilities, but not for a rule that forbids a model.
    """

    model_id: str
    foundation: str | None
    guessed: bool = False
    project: str | None = None
    """The project that calls belong to; None is the account's default."""
    arn: str | None = None
    """Where it was asked for by an ARN of the catalogue's region: that ARN, as AWS writes it, for rules to match."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of `GET /models`. `created` is in Unix seconds; `shutdown` is a date, empty if none is announced."""

    id: str
    created: int
    owned_by: str
    targets: tuple[Target, ...]
    shutdown: str = ""


ORGANISATION = "organisation"
"""The owner of an entry that is an alias, which the gateway's operator has made."""


def profile_id(name: str) -> str | None:
    """Return the id in the ARN of a system-defined inference profile; None for any other string."""
    match = _ARN.fullmatch(name)
    return match["name"] if match and match["kind"] == "inference-profile" else None


def names_model(arn: str) -> bool:
    """Return whether this is an ARN with the id of a model or of a system profile in it."""
    match = _ARN.fullmatch(arn)
    return match is not None and match["kind"] in ("foundation-model", "inference-profile")


def geographies(region: str) -> tuple[str, ...]:
    """Return the geographies whose profiles may serve this region's models, nearest first."""
    return next(names for start, names in GEOGRAPHIES if region.startswith(start))


def geography(model_id: str, region: str) -> str:
    """Return where a call of `model_id` in this region is served: the geography of a profile, or the region's own."""
    head = model_id.partition(".")[0]
    return head if head in PREFIXES else geographies(region)[0]


def own_geography(region: str) -> str:
    """Return the smallest geography of profiles that a region belongs to; empty for a region that is in none."""
    nearest = geographies(region)[0]
    return "" if nearest == GLOBAL else nearest


_IN_REGION = frozenset({"foundation-model", "provisioned-model", "imported-model"})
"""Kinds of resources whose calls are served in their own region."""

_ARN = re.compile(rf"arn:(?:{ANY_PARTITION}):bedrock:(?P<region>[^:]*):[^:]*:(?P<kind>[a-z-]+)/(?P<name>.+)", re.DOTALL)

_CONTEXT = re.compile(r"(?P<base>.+)(?P<revision>:[0-9]{1,2}):(?:[0-9]{1,4}k|mm|512)", re.DOTALL)
"""`amazon.nova-lite-v1:0:300k`: a context size, which matters to provisioned throughput only. AWS's are a number of
thousands, `mm` of Nova Premier, and `512` of Cohere's embeddings. Any other ending could be a caller's own word."""

_LISTED_CONTEXT = re.compile(r"(?P<base>.+)(?P<revision>:[0-9]{1,4}):[0-9a-z]{1,8}", re.DOTALL)
"""Likewise, of an id that AWS lists."""

_MAX_CACHED = 1024

_NOTHING = (None, False)
"""The foundation of an id that identifies no model, and that this is no guess."""


class Catalogue:
    """An immutable snapshot of the models and profiles of one region."""

    def __init__(
        self,
        models: Iterable[FoundationModel],
        profiles: Iterable[InferenceProfile],
        region: str,
        elsewhere: Iterable[str] = (),
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
        self._head = f"arn:{partition(region)}:bedrock:{region}:"
        self._here = (self._head, f"arn:{partition(region)}:sagemaker:{region}:")
        """Starts of the ARNs that this region has."""
        self._cached: dict[str, tuple[Target, ...]] = {}
        """Results of `targets`: callers ask for the same few ids again and again."""
        self._entries = tuple(sorted(self._list(listed.values()), key=lambda entry: entry.id))
        self._by_id = {entry.id: entry for entry in self._entries}
        self.permitted: dict[Hashable, tuple[Entry, ...]] = {}
        """What may be listed, by the rules of who asks; `extproc.exchange.models` keeps it here."""
        self.names: dict[Hashable, object] = {}
        """What suggestions are made from, kept here as well."""

    @classmethod
    def build(
        cls,
        models: Iterable[FoundationModel],
        profiles: Iterable[InferenceProfile],
        region: str,
        elsewhere: Iterable[str] = (),
    ) -> "Catalogue":
        """Make the catalogue of `region` from its models and profiles, and the ids of models of other regions."""
        return cls(models, profiles, region, elsewhere)

    def entries(self) -> tuple[Entry, ...]:
        """Return all that can be called for chat or embeddings, sorted by id.

        These are models on demand, or by their own id through a profile; system profiles; application profiles, by
        their ARN. Models that are only provisioned, or make only images or video, are left out.
        """
        return self._entries

    def entry(self, name: str) -> Entry | None:
        """Return the entry with this id; None if there is none."""
        return self._by_id.get(name)

    def lists(self, name: str) -> bool:
        """Return whether AWS lists a model or a profile of this id or ARN."""
        return name in self._models or name in self._profiles

    def resident(self, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        """Return those targets whose calls are served within the region's own geography, for certain."""
        return tuple([target for target in targets if self._stays(target.model_id)])

    def _stays(self, model_id: str) -> bool:
        """Return whether a call of this id or ARN is served within the geography. What is not known may leave it.

        A model's own id is served in the region; a system profile's begins with where it is served. An application
        profile's regions are those that AWS lists. Prompts, prompt routers and deployments of custom models may use
        profiles themselves.
        """
        arn = _ARN.fullmatch(model_id)
        if arn is None:
            return self._is_at_home(model_id)
        if arn["region"] != self.region:
            return False
        if arn["kind"] == "inference-profile":
            return model_id in self._profiles and self._is_at_home(arn["name"])
        if arn["kind"] == "application-inference-profile":
            profile = self._profiles.get(model_id)
            return profile is not None and bool(profile.regions) and all(map(self._is_near, profile.regions))
        return arn["kind"] in _IN_REGION

    def _is_at_home(self, name: str) -> bool:
        """Return whether an id is that of a known model, or of a system profile of the region's own geography."""
        head, _, rest = name.partition(".")
        model = rest if head in PREFIXES else name
        return self._known_model(model) is not None and (head not in PREFIXES or head == own_geography(self.region))

    def _is_near(self, region: str) -> bool:
        """Return whether a region is this one, or belongs to the same geography."""
        own = own_geography(self.region)
        return region == self.region or (bool(own) and own in geographies(region))

    def targets(self, requested: str) -> tuple[Target, ...]:
        """Return what may serve the id `requested`, best first; an unknown id is its own single target."""
        cached = self._cached.get(requested)
        if cached is not None:
            return cached
        targets = self._targets(requested)
        if len(requested) <= LONGEST_REMEMBERED:
            if len(self._cached) >= _MAX_CACHED:  # a caller makes ids up
                self._cached.clear()
            self._cached[requested] = targets
        return targets

    def _targets(self, requested: str) -> tuple[Target, ...]:
        arn = _ARN.fullmatch(requested)
        if arn:
            return self._arn_targets(requested, arn["kind"], arn["name"])
        profile = self._profiles.get(requested)
        if profile:
            return (Target(requested, profile.foundation),)
        own = self._own_arn(requested)
        return self._model_targets(requested) or (Target(requested, *self._behind(requested), arn=own),)

    def _arn_targets(self, requested: str, kind: str, name: str) -> tuple[Target, ...]:
        """Return the targets of an ARN. Only that of a foundation model of this region is resolved further."""
        models = f"{self._head}:foundation-model/"
        targets = self._model_targets(name) if requested == models + name else ()
        if targets:
            return tuple(Target(each.model_id, each.foundation, arn=f"{models}{each.foundation}") for each in targets)
        profile = self._profiles.get(requested)
        if profile:
            return (Target(requested, profile.foundation, arn=requested),)
        own = self._own_arn(requested)
        if kind not in ("foundation-model", "inference-profile"):
            return (Target(requested, *_NOTHING, arn=own),)
        foundation, guessed = self._behind(name)
        if own and foundation:
            own = requested.removesuffix(name) + foundation
            if kind == "inference-profile":
                head = name.partition(".")[0]
                own = f"{requested.removesuffix(name)}{head}.{foundation}" if head in PREFIXES else None
        return (Target(requested, foundation, guessed, arn=own),)

    def _own_arn(self, requested: str) -> str | None:
        """Return `requested` if it is an ARN that this region has: whatever else it names is AWS's to find."""
        return requested if requested.startswith(self._here) else None

    def _model_targets(self, requested: str) -> tuple[Target, ...]:
        """Return the targets of a foundation model's id, with or without a context size; none if it is not callable."""
        names = (requested, *self._bases(requested))
        return next(filter(None, map(self._callable, names)), ())

    def _callable(self, foundation: str) -> tuple[Target, ...]:
        """Return the model itself if it is on demand, then the profiles that may serve it."""
        model = self._models.get(foundation)
        alone = (Target(foundation, foundation),) if model and ON_DEMAND in model.inference else ()
        return alone + tuple(Target(profile.id, foundation) for profile in self._nearest(foundation))

    def _nearest(self, foundation: str) -> list[InferenceProfile]:
        """Return the listed system profiles that may serve a model of this region, nearest geography first."""
        nearest = (self._by_geography.get((name, foundation)) for name in geographies(self.region))
        return [profile for profile in nearest if profile]

    def _behind(self, name: str) -> tuple[str | None, bool]:
        """Return the model that the form of an unlisted id suggests, and whether that is a guess.

        An id with a dot is a model's or a system profile's. An id without one (`a1b2c3d4e5f6`) names a resource of an
        account, such as a provisioned model, and does not identify the model; nor does an ARN of any other form.
        """
        head, _, rest = name.partition(".")
        if head[:4].lower() == "arn:":
            return _NOTHING
        model = rest if head in PREFIXES else name
        if "." not in model:
            return _NOTHING
        known = self._known_model(model)
        if known is not None:
            return known, False
        return self._within(model) or next(iter(self._bases(model)), model), True

    def _within(self, name: str) -> str | None:
        """Return the known model that an unknown id has text around: a part in front, or up to three behind."""
        for text in (name, name.partition(".")[2]):
            for _ in range(4):
                known = self._known_model(text)
                if known is not None:
                    return known
                text = text.rpartition(":")[0]
        return None

    def _known_model(self, name: str) -> str | None:
        """Return the known model that an id names, with or without a context size; None if it names none."""
        return next((each for each in (*self._bases(name), name) if each in self._known), None)

    def _bases(self, name: str) -> tuple[str, ...]:
        """Return the ids without a context size that may be the same model: `v1:0:300k` -> `v1:0`, `v1`."""
        match = (_LISTED_CONTEXT if name in self._models else _CONTEXT).fullmatch(name)
        return (match["base"] + match["revision"], match["base"]) if match else ()

    def _list(self, profiles: Iterable[InferenceProfile]) -> Iterable[Entry]:
        """Yield the entries, in no order."""
        for model in self._models.values():
            targets = self._callable(model.id)
            if model.served and targets:
                yield Entry(model.id, model.created, _owner(model.id), targets, model.shutdown)
        for profile in profiles:
            behind = self._models.get(profile.foundation or "")
            if behind is None or behind.served:
                name = profile.arn if profile.kind == APPLICATION else profile.id
                shutdown = behind.shutdown if behind else ""
                yield Entry(name, profile.created, _owner(profile.foundation), self.targets(name), shutdown)


def _owner(foundation: str | None) -> str:
    """Return the model's maker, which its id begins with: `anthropic`, `amazon`, `cohere`."""
    return foundation.partition(".")[0] if foundation else "aws"

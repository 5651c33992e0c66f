"""Foundation models, and the inference profiles of the region.

The facts are in `models.json`. A key there that is no field of `Model` is an error at start. The features of a model
are its family's (see `families`). The system-defined profiles follow from the region, as on
AWS: `us-*` has `us.` and `global.`, `eu-*` has `eu.` and `global.`, and so on.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from bedrock_local import families
from bedrock_local.errors import AwsError, invalid, not_found
from bedrock_local.families import Family

#: The account that owns the application profiles, and in which the system-defined ones appear.
ACCOUNT = "123456789012"

ON_DEMAND = "ON_DEMAND"
INFERENCE_PROFILE = "INFERENCE_PROFILE"

#: Geographies of system-defined profiles, by the beginning of the region's name; the first that fits counts.
_GEOGRAPHIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("us-gov-", ("us-gov",)),
    ("us-", ("us", "global")),
    ("eu-", ("eu", "global")),
    ("ap-northeast-1", ("apac", "jp", "global")),
    ("ap-northeast-3", ("apac", "jp", "global")),
    ("ap-southeast-2", ("apac", "au", "global")),
    ("ap-southeast-4", ("apac", "au", "global")),
    ("ap-", ("apac", "global")),
    ("", ("global",)),
)

_GEOGRAPHY_NAMES = {
    "us": "US",
    "us-gov": "US Gov",
    "eu": "EU",
    "apac": "APAC",
    "jp": "JP",
    "au": "AU",
    "global": "Global",
}

#: The regions of a profile of a geography, as its `models` list names them (None: the region of the
#: call; an empty one: none, which stands for all).
_REGIONS_OF: dict[str, tuple[str | None, ...]] = {
    "us": ("us-east-1", "us-east-2", "us-west-2"),
    "us-gov": ("us-gov-east-1", "us-gov-west-1"),
    "eu": ("eu-central-1", "eu-north-1", "eu-west-1", "eu-west-3"),
    "apac": ("ap-northeast-1", "ap-south-1", "ap-southeast-1", "ap-southeast-2"),
    "jp": ("ap-northeast-1", "ap-northeast-3"),
    "au": ("ap-southeast-2", "ap-southeast-4"),
    "global": (None, ""),
}

_INVALID_IDENTIFIER = "The provided model identifier is invalid."


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A foundation model, and what AWS lists about it.

    `family` is None for one that holds no conversation. `context` and `max_tokens` count tokens of input and of output.
    """

    id: str
    name: str
    provider: str
    started: str
    inference: tuple[str, ...]
    input: tuple[str, ...]
    output: tuple[str, ...] = ("TEXT",)
    family: Family | None = None
    ended: str | None = None
    streaming: bool = True
    geographies: tuple[str, ...] = ()
    context: int = 0
    max_tokens: int = 0

    @property
    def legacy(self) -> bool:
        """Return whether AWS has announced its end."""
        return self.ended is not None


@dataclass(frozen=True, slots=True)
class Profile:
    """An inference profile: system-defined (`us.…`) or an application's own, which is called by its ARN."""

    id: str
    name: str
    description: str
    arn: str
    kind: str
    model: Model
    model_arns: tuple[str, ...]


def load() -> tuple[dict[str, Model], list[dict[str, str]]]:
    """Read `models.json`: models by id, and the application profiles as they are there."""
    data = json.loads(resources.files("bedrock_local").joinpath("models.json").read_text("utf-8"))
    known = families.load()
    models = (_model(entry, known) for entry in data["models"])
    return {model.id: model for model in models}, data["application_profiles"]


def _model(entry: Mapping[str, Any], known: Mapping[str, Family]) -> Model:
    fields: dict[str, Any] = {key: tuple(it) if isinstance(it, list) else it for key, it in entry.items()}
    if "family" in fields:
        family = fields["family"] = known[fields["family"]]
        fields["input"] = _modalities(family)
    return Model(**fields)


def _modalities(family: Family) -> tuple[str, ...]:
    """Return the input modalities that AWS lists: text, and the media that the family accepts."""
    media = (("IMAGE", family.images), ("VIDEO", family.video), ("SPEECH", family.audio))
    return ("TEXT", *(name for name, taken in media if taken))


class Shelf:
    """The models and profiles of one region, found by the identifier in a path."""

    def __init__(self, region: str) -> None:
        self.region = region
        self._partition = _partition(region)
        self.models, applications = load()
        self.profiles = {profile.id: profile for profile in self._system_profiles()}
        self.profiles.update((profile.id, profile) for profile in map(self._application_profile, applications))

    def model_arn(self, model: Model, region: str | None = None) -> str:
        """Return the ARN of a foundation model, in this region (None) or another."""
        return f"arn:{self._partition}:bedrock:{self.region if region is None else region}::foundation-model/{model.id}"

    def resolve(self, identifier: str) -> Model:
        """Return the model of the id or ARN in a call; raise AwsError if AWS would reject it."""
        profile = self._called_profile(identifier)
        if profile is not None:
            return profile.model
        model = self.models.get(self._foundation_id(identifier))
        if model is None:
            raise invalid(_INVALID_IDENTIFIER)
        if ON_DEMAND not in model.inference:
            raise invalid(_ON_DEMAND_UNSUPPORTED.format(identifier))
        return model

    def foundation(self, identifier: str) -> Model:
        """Return the model for GetFoundationModel, by its id or ARN."""
        model = self.models.get(self._foundation_id(identifier))
        if model is None:
            raise not_found(f"Could not resolve the foundation model from the model identifier: {identifier}")
        return model

    def profile(self, identifier: str) -> Profile:
        """Return the profile for GetInferenceProfile, by its id or ARN."""
        for profile in self.profiles.values():
            if identifier in (profile.id, profile.arn):
                return profile
        raise not_found(f"The inference profile {identifier} could not be found.")

    def _called_profile(self, identifier: str) -> Profile | None:
        for profile in self.profiles.values():
            by_id = profile.kind == "SYSTEM_DEFINED" and identifier == profile.id
            if by_id or identifier == profile.arn:
                return profile
        return None

    def _foundation_id(self, identifier: str) -> str:
        return identifier.removeprefix(f"arn:{self._partition}:bedrock:{self.region}::foundation-model/")

    def _system_profiles(self) -> list[Profile]:
        here = next(places for start, places in _GEOGRAPHIES if self.region.startswith(start))
        return [
            self._system_profile(geography, model)
            for geography in here
            for model in self.models.values()
            if geography in model.geographies
        ]

    def _system_profile(self, geography: str, model: Model) -> Profile:
        name = _GEOGRAPHY_NAMES[geography]
        identifier = f"{geography}.{model.id}"
        return Profile(
            id=identifier,
            name=f"{name} {model.provider} {model.name}",
            description=f"Routes requests to {model.provider} {model.name} in the {name} geography.",
            arn=self._profile_arn("inference-profile", identifier),
            kind="SYSTEM_DEFINED",
            model=model,
            model_arns=tuple(self.model_arn(model, region) for region in _REGIONS_OF[geography]),
        )

    def _application_profile(self, entry: Mapping[str, str]) -> Profile:
        model = self.models[entry["copy_of"]]
        return Profile(
            id=entry["id"],
            name=entry["name"],
            description=f"An application profile for {model.name}",
            arn=self._profile_arn("application-inference-profile", entry["id"]),
            kind="APPLICATION",
            model=model,
            model_arns=(self.model_arn(model),),
        )

    def _profile_arn(self, resource: str, identifier: str) -> str:
        return f"arn:{self._partition}:bedrock:{self.region}:{ACCOUNT}:{resource}/{identifier}"


#: AWS writes a typographic apostrophe here.
_ON_DEMAND_UNSUPPORTED = (
    "Invocation of model ID {} with on-demand throughput isn\N{RIGHT SINGLE QUOTATION MARK}t supported. Retry your "
    "request with the ID or ARN of an inference profile that contains this model."
)


def _partition(region: str) -> str:
    for start, partition in (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov")):
        if region.startswith(start):
            return partition
    return "aws"


def unsupported_action() -> AwsError:
    """Return Converse's error for a model that is no chat model."""
    return invalid(
        "This action doesn't support the model that you provided. Try again with a supported text or chat model."
    )

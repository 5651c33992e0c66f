"""The keys of gateway.yaml, and of items of a table, about one organisation.

Decision: docs/decisions.md, D174.
"""

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from extproc.bedrock.request_metadata import OWN, PAIRS, is_own
from extproc.config.budgets import Budgets, Cents, Percent, check_budgets, of_cents
from extproc.config.document import ConfigError
from extproc.config.features import Feature
from extproc.config.kinds import (
    Aliases,
    Geography,
    GuardrailId,
    GuardrailVersion,
    MaxTokens,
    MetadataName,
    ModelId,
    Pattern,
    Pdf,
    ProjectId,
    Region,
    RequestMetadata,
    YesNo,
)
from extproc.config.rate_limits import RateLimits
from extproc.config.roles import RoleSettings

MAX_PATTERNS = 500
"""Most patterns of a list of models: each is compared with each name of a model."""


class Models(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The models that an organisation may call: glob patterns (`*`, `?`); `deny` has priority over `allow`.

    `extproc.tenancy.policy` has the rules of matching.
    """

    allow: tuple[Pattern, ...] = ("*",)
    deny: tuple[Pattern, ...] = ()


class EndpointSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Endpoints that an operator switches on."""

    responses: YesNo = False
    """`POST /oai/v1/responses`, without state: nothing is stored, and the client sends the whole conversation."""


class GuardrailSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A guardrail of Bedrock."""

    id: GuardrailId
    version: GuardrailVersion


class Organisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An organisation. Its machine name is its key in `organisations`."""

    models: Models = msgspec.field(default_factory=Models)
    enabled: YesNo = True
    pdf: Pdf | None = None
    """Overrides `media.pdf`."""
    project: ProjectId | None = None
    """The project that its calls belong to (`projectIdentifier`)."""
    caching: Annotated[Literal["implicit", "explicit"], Meta(description="`implicit` or `explicit`")] = "explicit"
    """Whether prompts are cached without a client's marks: behind the instructions, and behind the last turn."""
    endpoints: EndpointSettings | None = None
    """Overrides `endpoints`."""
    aliases: Aliases = {}
    """Names for models, beside `aliases` and before them."""
    request_metadata: RequestMetadata = {}
    """Pairs that all of its calls have in AWS's books."""
    max_tokens: MaxTokens | None = None
    """Most tokens of a completion, reasoning included."""
    guardrail: GuardrailSettings | None = None
    """The guardrail that each of its chats passes."""
    default_model: ModelId | None = None
    """The model, or the alias, of chats that name none."""
    features: tuple[Feature, ...] | None = None
    """What its requests may use; None is everything."""
    region: Region | None = None
    """The AWS region of its calls, one of `regions`; the default is the gateway's own."""
    geography: Geography = "global"
    """Whether its calls may be served outside of the region's geography, or never (`strict`)."""
    role: RoleSettings | None = None
    """The role that its calls are made with, in place of the gateway's own identity."""
    limits: RateLimits | None = None
    """Its limits, before those of `rate_limits.organisation`."""
    budgets: Budgets | None = None
    """What it may spend, in place of `budgets.organisation`; after loading, with `monthly_budget_cents` and so on."""
    user_budgets: Budgets | None = None
    """What each of its users may spend, in place of `budgets.user`; likewise."""
    monthly_budget_cents: Cents | None = None
    daily_budget_cents: Cents | None = None
    per_user_monthly_budget_cents: Cents | None = None
    per_user_daily_budget_cents: Cents | None = None
    warning_threshold_percent: Percent | None = None
    """`warn_at` of the budgets in cents."""

    def __post_init__(self) -> None:
        """Write what is in cents as budgets, and nowhere else."""
        warn = self.warning_threshold_percent
        own = of_cents(self.budgets, self.monthly_budget_cents, self.daily_budget_cents, warn)
        each = of_cents(self.user_budgets, self.per_user_monthly_budget_cents, self.per_user_daily_budget_cents, warn)
        if own is self.budgets and each is self.user_budgets:
            return
        for key, value in (("budgets", own), ("user_budgets", each), *((key, None) for key in _IN_CENTS)):
            msgspec.structs.force_setattr(self, key, value)


_IN_CENTS = (
    "monthly_budget_cents",
    "daily_budget_cents",
    "per_user_monthly_budget_cents",
    "per_user_daily_budget_cents",
    "warning_threshold_percent",
)


def check_organisation(name: str, organisation: Organisation) -> None:
    """Check what can be seen of an organisation alone; raises `ConfigError`."""
    check_patterns(organisation.models, f"organisations.{name}")
    check_budgets(organisation.budgets, f"organisations.{name}.budgets")
    check_budgets(organisation.user_budgets, f"organisations.{name}.user_budgets")
    if organisation.warning_threshold_percent is not None:
        raise ConfigError(
            f"organisations.{name}.warning_threshold_percent: there is no budget in cents that it could be for; write "
            "`warn_at` in an entry of `budgets`"
        )
    most = PAIRS - len(get_args(get_args(MetadataName)[0]))
    pairs = organisation.request_metadata
    for key in pairs:
        if is_own(key):
            raise ConfigError(
                f"organisations.{name}.request_metadata.{key}: keys that begin with `{OWN}` are the gateway's; "
                "choose another"
            )
    if len(pairs) > most:
        raise ConfigError(f"organisations.{name}.request_metadata: {len(pairs)} pairs, at most {most} are accepted")


def check_patterns(models: Models, where: str) -> None:
    """Check that no list has so many patterns that a list of models takes a worker too long; raises `ConfigError`."""
    for key, patterns in (("allow", models.allow), ("deny", models.deny)):
        if len(patterns) > MAX_PATTERNS:
            raise ConfigError(
                f"{where}.models.{key}: {len(patterns):,} patterns, at most {MAX_PATTERNS} are "
                "accepted; write fewer, with `*`, as in `anthropic.*`"
            )

"""The models that a caller does not see, and why.

Invariant: `objection` returns None for exactly those targets that `choose` takes one of.

Decision: docs/decisions.md, D224.
"""

from collections.abc import Iterator, Mapping

from extproc.bedrock.catalogue import Catalogue, Target
from extproc.bedrock.model_ids import is_model_id
from extproc.bedrock.seed import seed_ids
from extproc.config import Models, Organisation
from extproc.config.faults import printable
from extproc.tenancy.policy import ModelRules, Narrowed, allows, choose, deniable, matches, within

_ANYBODY = Organisation()


def missing(
    catalogue: Catalogue,
    rules: ModelRules,
    aliases: Mapping[str, str],
    own: Organisation = _ANYBODY,
    *,
    listed_by_aws: bool,
) -> Iterator[tuple[str, str]]:
    """Yield each model and alias that `rules`, the region or its geography leave out of the list, and the reason.

    Beside the catalogue's, these are the models of the built-in list, and those that `allow` names without `*` or `?`.
    """
    entries = {entry.id: entry.targets for entry in catalogue.entries()}
    for name in sorted({*entries, *seed_ids(), *_named(rules)}):
        targets = entries.get(name) or catalogue.targets(name)
        reason = _leaving(catalogue, own, targets) or objection(rules, name, within(catalogue, own, targets))
        if reason is None and name not in entries:
            reason = _not_here(catalogue, name, listed_by_aws)
        if reason is not None:
            yield name, reason
    for alias, model in sorted(aliases.items()):
        if catalogue.lists(alias):
            yield alias, f"is a model of its own, so it is no alias of `{model}`"
            continue
        targets = catalogue.targets(model)
        if reason := _leaving(catalogue, own, targets):
            yield alias, f"is an alias of `{model}`, which {reason}"
        elif reason := objection(rules, model, within(catalogue, own, targets)):
            yield alias, f"is an alias of `{model}`, which is {reason}"


def _leaving(catalogue: Catalogue, own: Organisation, targets: tuple[Target, ...]) -> str | None:
    """Return a reason if no target stays in the geography, and the organisation's calls have to."""
    if within(catalogue, own, targets):
        return None
    return f"may leave the geography of {catalogue.region}, which `geography: strict` forbids"


def objection(rules: ModelRules, requested: str, targets: tuple[Target, ...]) -> str | None:
    """Return why none of the targets is permitted, None if one is."""
    if choose(rules, requested, targets) is not None:
        return None
    reasons = {target.model_id: _objection(rules, requested, target) for target in targets}
    if len(set(reasons.values())) == 1:
        return next(iter(reasons.values()))
    return "; ".join(f"as `{name}` {reason}" for name, reason in reasons.items())


def _objection(rules: ModelRules, requested: str, target: Target) -> str | None:
    if isinstance(rules, Narrowed):
        by_token = _objection(rules.token, requested, target)
        return _objection(rules.organisation, requested, target) or (by_token and f"{by_token} of the token")
    if rules.deny and (target.foundation is None or target.guessed):
        return "denied, since it is not known which model is behind it, by any pattern of `models.deny`"
    for pattern in rules.deny:
        if matches(pattern, deniable(requested, target), ignore_case=True):
            return f"denied by the pattern `{printable(pattern)}` of `models.deny`"
    if not allows(rules.allow, requested, target):
        return "not allowed by any pattern of `models.allow`"
    return None


def _named(rules: ModelRules) -> list[str]:
    """Return the ids that the organisation's `allow` names."""
    models: Models = rules.organisation if isinstance(rules, Narrowed) else rules
    ids = [pattern for pattern in models.allow if not {"*", "?"} & {*pattern} and is_model_id(pattern)]
    return [name for name in ids if not name.startswith("arn:")]  # these may be called without being listed


def _not_here(catalogue: Catalogue, name: str, listed_by_aws: bool) -> str:
    """Return why a permitted model is not in the list."""
    if catalogue.lists(name):
        return f"not for chat or embeddings, or only provisioned, in {catalogue.region}"
    if listed_by_aws:
        return f"not listed by AWS in {catalogue.region} for this account"
    return f"not in the built-in list for {catalogue.region}"

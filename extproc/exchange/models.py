"""GET /models and GET /models/{model}: the catalogue, as far as the caller's organisation may use it.

Decisions: docs/decisions.md, D57, D183, D202, D216.
"""

from collections.abc import Hashable, Sequence
from typing import Final

import msgspec

from extproc.bedrock.catalogue import ORGANISATION, Catalogue, Entry, Target
from extproc.bedrock.model_ids import is_model_id
from extproc.bedrock.similar import Names
from extproc.openai.errors import ApiError
from extproc.openai.models import Model, list_object, model_object
from extproc.shared_names import API_PATH
from extproc.tenancy.directory import Caller
from extproc.tenancy.policy import choose, within

_LONGEST_QUOTED: Final = 256
"""Characters of an id that an error repeats, so that its other sentences stay."""

_MOST_LISTS: Final = 1_024
"""Rules whose lists are remembered."""

_MOST_NAMES: Final = 64
"""Rules, with aliases, whose names are remembered for suggestions: about 100 KB for each."""


def model_list(catalogue: Catalogue, caller: Caller) -> bytes:
    """Return the body of the list."""
    return msgspec.json.encode(list_object(map(_object, permitted(catalogue, caller))))


def _object(entry: Entry) -> Model:
    return model_object(entry.id, entry.created, entry.owned_by, entry.shutdown)


def permitted(catalogue: Catalogue, caller: Caller) -> Sequence[Entry]:
    """Return what the caller may use, sorted by id: models, profiles, and its organisation's aliases for them."""
    entries = _permitted(catalogue, caller)
    if not caller.aliases:
        return entries
    aliases = [_alias(catalogue, caller, name) for name in caller.aliases]
    return sorted([*entries, *[entry for entry in aliases if entry is not None]], key=lambda entry: entry.id)


def _permitted(catalogue: Catalogue, caller: Caller) -> Sequence[Entry]:
    """Return what AWS lists and the rules permit. It is chosen once: that takes many times as long as to write it."""
    rules = _rules(caller)
    known = catalogue.permitted.get(rules)
    if known is None:
        entries = catalogue.entries()
        known = tuple([entry for entry in entries if _chosen(catalogue, caller, entry.id, entry.targets) is not None])
        if len(catalogue.permitted) >= _MOST_LISTS:
            catalogue.permitted.clear()
        catalogue.permitted[rules] = known
    return known


def _rules(caller: Caller) -> Hashable:
    """Return what decides on the models that the caller may use."""
    return caller.models if caller.own.geography == "global" else (caller.models, caller.own.geography)


def _names(catalogue: Catalogue, caller: Caller) -> Names:
    """Return the names of what the caller may use. They are prepared once, for each rule and each set of aliases."""
    key = (_rules(caller), id(caller.aliases) if caller.aliases else 0)
    known = catalogue.names.get(key)
    if known is None:
        if len(catalogue.names) >= _MOST_NAMES:
            catalogue.names.clear()
        known = catalogue.names[key] = _PermittedNames(caller, Names(permitted(catalogue, caller)))
    assert isinstance(known, _PermittedNames)
    return known.names


class _PermittedNames:
    """Names, and the aliases among them: these are kept so that their `id` is no other's meanwhile."""

    __slots__ = ("_aliases", "names")

    def __init__(self, caller: Caller, names: Names) -> None:
        self._aliases = caller.aliases
        self.names = names


def _chosen(catalogue: Catalogue, caller: Caller, model_id: str, targets: tuple[Target, ...]) -> Target | None:
    """Return the target that serves the caller's calls of `model_id`, None if there is none."""
    return choose(caller.models, model_id, within(catalogue, caller.own, targets))


def _alias(catalogue: Catalogue, caller: Caller, name: str) -> Entry | None:
    """Return the entry of an alias; None where the caller may not use it, or where it is none."""
    model_id = caller.aliases.get(name) if caller.aliases else None
    if model_id is None or catalogue.lists(name):
        return None
    targets = catalogue.targets(model_id)
    if _chosen(catalogue, caller, model_id, targets) is None:
        return None
    behind = catalogue.entry(model_id)
    if behind is None:
        return Entry(name, 0, ORGANISATION, targets)
    return Entry(name, behind.created, ORGANISATION, targets, behind.shutdown)


class NoSuchModelError(ApiError):
    """The 404 for a model that does not exist, or that the caller may not use: both look the same."""


def model(catalogue: Catalogue, caller: Caller, model_id: str) -> bytes:
    """Return the body of one model. Raises a 404 `ApiError` for one that is not in the caller's list."""
    entry = catalogue.entry(model_id)
    if entry is not None and _chosen(catalogue, caller, model_id, entry.targets) is None:
        entry = None
    entry = entry or _alias(catalogue, caller, model_id)
    if entry is not None:
        return msgspec.json.encode(_object(entry))
    raise no_such_model(catalogue, caller, model_id)


def resolved(catalogue: Catalogue, caller: Caller, model_id: str) -> Target:
    """Return the target for `model_id`. Raises a 404 `ApiError` if it does not exist, or the caller may not use it.

    An id that AWS's own pattern forbids is rejected before any rule reads it: AWS or a proxy may read another id from
    such a spelling (`a/../b`, `%61`, a blank, a full-width letter) than a rule does. An alias is read as the id that it
    stands for; a name that AWS lists is no alias.
    """
    meant = model_id
    if caller.aliases and not catalogue.lists(model_id):
        meant = caller.aliases.get(model_id, model_id)
    target = _chosen(catalogue, caller, meant, catalogue.targets(meant)) if is_model_id(meant) else None
    if target is None:
        raise no_such_model(catalogue, caller, model_id)
    if caller.project is not None:
        return Target(target.model_id, target.foundation, target.guessed, caller.project, target.arn)
    return target


def no_such_model(catalogue: Catalogue, caller: Caller, model_id: str, reason: str = "") -> ApiError:
    """Return the 404, with the most similar id that the caller may use; `reason` is Bedrock's, where it decided."""
    suggestion = _names(catalogue, caller).similar(model_id)
    meant = f" Did you mean `{suggestion}`?" if suggestion else ""
    because = f" ({reason})" if reason else ""
    stays = " Its calls stay in the geography of its region." if caller.own.geography == "strict" else ""
    return NoSuchModelError(
        404,
        f"The model '{model_id[:_LONGEST_QUOTED]}' does not exist, or organisation '{caller.organisation}' may not "
        f"use it.{stays}{meant} GET {API_PATH}/models lists the ones it may.{because}",
        param="model",
        code="model_not_found",
    )


def explained(error: ApiError, catalogue: Catalogue, caller: Caller | None, model_id: str) -> ApiError:
    """Return `error`, or the gateway's own 404 where Bedrock has no such model."""
    if caller is None or error.code != "model_not_found" or isinstance(error, NoSuchModelError):
        return error
    return no_such_model(catalogue, caller, model_id, error.message)

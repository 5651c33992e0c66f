"""GET /models and GET /models/{model}: the catalogue, as far as the caller's organisation may use it."""

import msgspec

from extproc.bedrock.catalogue import Catalogue, Target
from extproc.bedrock.model_ids import is_model_id
from extproc.openai.errors import ApiError
from extproc.openai.models import list_object, model_object
from extproc.shared_names import API_PATH
from extproc.tenancy.directory import Caller
from extproc.tenancy.policy import choose


def model_list(catalogue: Catalogue, caller: Caller) -> bytes:
    """The list's body."""
    permitted = (
        model_object(entry.id, entry.created, entry.owned_by)
        for entry in catalogue.entries()
        if choose(caller.models, entry.id, entry.targets) is not None
    )
    return msgspec.json.encode(list_object(permitted))


def model(catalogue: Catalogue, caller: Caller, asked: str) -> bytes:
    """One model's body; raises a 404 `ApiError` for one that is not in the caller's list."""
    for entry in catalogue.entries():
        if entry.id == asked and choose(caller.models, asked, entry.targets) is not None:
            return msgspec.json.encode(model_object(entry.id, entry.created, entry.owned_by))
    raise no_such_model(asked, caller)


def resolved(catalogue: Catalogue, caller: Caller, asked: str) -> Target:
    """Return what to call for `asked`; raises a 404 `ApiError` if this caller may not, or if no model has such an id.

    An id that AWS's own pattern forbids is rejected before any rule reads it: no rule can be right about a spelling
    (`a/../b`, `%61`, a blank, a full-width letter) that somebody further on may read as another id.
    """
    target = choose(caller.models, asked, catalogue.targets(asked)) if is_model_id(asked) else None
    if target is None:
        raise no_such_model(asked, caller)
    return target


def no_such_model(asked: str, caller: Caller) -> ApiError:
    """A 404, the same for a model that there is not and for one that this caller may not know of."""
    return ApiError(
        404,
        f"The model '{asked}' does not exist, or organisation '{caller.organisation}' may not use it. "
        f"GET {API_PATH}/models lists the ones it may.",
        param="model",
        code="model_not_found",
    )

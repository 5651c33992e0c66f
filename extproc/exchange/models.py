"""GET /models and GET /models/{model}: the catalogue, as far as the caller's organisation may use it."""

import msgspec

from extproc.bedrock.catalogue import Catalogue
from extproc.openai.errors import ApiError
from extproc.openai.models import list_object, model_object
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


def no_such_model(asked: str, caller: Caller) -> ApiError:
    """A 404, the same for a model that there is not and for one that this caller may not know of."""
    return ApiError(
        404,
        f"The model '{asked}' does not exist, or organisation '{caller.organisation}' may not use it. "
        "GET /oai/v1/models lists the ones it may.",
        param="model",
        code="model_not_found",
    )

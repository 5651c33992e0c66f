"""GET /models and GET /models/{model}: what there is to call.

Source: the `Model` and `ListModelsResponse` schemas of OpenAI's API description. The list is whole: the SDKs know
no further pages of it.
"""

from collections.abc import Iterable

Model = dict[str, str | int]


def model_object(id: str, created: int, owned_by: str) -> Model:  # noqa: A002 - the wire's own name
    """One model; `created` is in Unix seconds."""
    return {"id": id, "object": "model", "created": created, "owned_by": owned_by}


def list_object(models: Iterable[Model]) -> dict[str, str | list[Model]]:
    """All of them, in the given order."""
    return {"object": "list", "data": list(models)}

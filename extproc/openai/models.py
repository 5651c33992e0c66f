"""GET /models and GET /models/{model}: the models that can be called.

Source: the `Model` and `ListModelsResponse` schemas of OpenAI's API description. The list is whole: the SDKs know
no further pages of it.
"""

from collections.abc import Iterable

Model = dict[str, str | int]


def model_object(
    id: str,  # noqa: A002 - the wire's own name
    created: int,
    owned_by: str,
    shutdown_date: str = "",
) -> Model:
    """Return a model; `created` is in Unix seconds, `shutdown_date` empty if none is announced."""
    model: Model = {"id": id, "object": "model", "created": created, "owned_by": owned_by}
    return model | {"shutdown_date": shutdown_date} if shutdown_date else model


def list_object(models: Iterable[Model]) -> dict[str, str | list[Model]]:
    """Return a list of models, in their order."""
    return {"object": "list", "data": list(models)}

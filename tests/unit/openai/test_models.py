"""The response to GET /models, as the openai package reads it."""

import msgspec
from openai.pagination import SyncPage
from openai.types import Model

from extproc.openai.models import list_object, model_object


def test_the_sdk_accepts_a_model() -> None:
    body = msgspec.json.encode(model_object("amazon.nova-micro-v1:0", 1_733_270_400, "Amazon"))
    model = Model.model_validate_json(body, strict=True)
    assert model.to_dict() == {
        "id": "amazon.nova-micro-v1:0",
        "object": "model",
        "created": 1_733_270_400,
        "owned_by": "Amazon",
    }


def test_the_sdk_reads_the_date_of_a_models_end() -> None:
    body = msgspec.json.encode(model_object("m", 0, "Amazon", "2027-03-31"))
    assert Model.model_validate_json(body, strict=True).shutdown_date == "2027-03-31"


def test_the_list_keeps_its_order() -> None:
    body = msgspec.json.encode(list_object(model_object(name, 0, "x") for name in "cab"))
    page = SyncPage[Model].model_validate_json(body, strict=True)
    assert page.object == "list"
    assert [model.id for model in page.data] == ["c", "a", "b"]


def test_an_empty_list_is_a_list() -> None:
    assert msgspec.json.encode(list_object([])) == b'{"object":"list","data":[]}'

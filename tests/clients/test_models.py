"""The list of models with OpenAI's Python SDK."""

import pytest
from openai import NotFoundError, OpenAI

CLAUDE = "anthropic.claude-sonnet-4-6"
NOVA = "amazon.nova-micro-v1:0"
LEGACY = "anthropic.claude-3-haiku-20240307-v1:0"
ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6"


def test_the_list_names_what_can_be_called(client: OpenAI) -> None:
    models = list(client.models.list())
    ids = [model.id for model in models]
    assert {
        CLAUDE,
        f"us.{CLAUDE}",
        f"global.{CLAUDE}",
        NOVA,
        "amazon.titan-embed-text-v2:0",
        ARN,
    } <= set(ids)
    assert len(ids) == len(set(ids))
    assert "stability.sd3-5-large-v1:0" not in ids
    for model in models:
        assert model.object == "model"
        assert model.created >= 0
        assert model.owned_by


@pytest.mark.parametrize("model", [CLAUDE, NOVA, f"us.{NOVA}", ARN])
def test_one_model(client: OpenAI, model: str) -> None:
    retrieved = client.models.retrieve(model)
    assert retrieved.id == model
    assert retrieved.object == "model"
    assert retrieved in list(client.models.list())
    assert retrieved._request_id


@pytest.mark.parametrize(
    ("model", "date"), [(LEGACY, "2027-03-10"), (f"us.{LEGACY}", "2027-03-10"), (NOVA, None), (CLAUDE, None)]
)
def test_a_models_end_is_announced(client: OpenAI, model: str, date: str | None) -> None:
    assert client.models.retrieve(model).shutdown_date == date
    assert {each.id: each.shutdown_date for each in client.models.list()}[model] == date


def test_a_model_of_the_list_responds(client: OpenAI) -> None:
    response = client.chat.completions.create(model=ARN, messages=[{"role": "user", "content": "Hello!"}])
    assert response.model == ARN
    assert response.choices[0].message.content


@pytest.mark.parametrize("model", ["gpt-4o", "arn:aws:bedrock:x/y", "stability.sd3-5-large-v1:0", "ü 100%"])
def test_a_model_that_is_not_there(client: OpenAI, model: str) -> None:
    with pytest.raises(NotFoundError) as rejected:
        client.models.retrieve(model)
    assert rejected.value.code == "model_not_found"

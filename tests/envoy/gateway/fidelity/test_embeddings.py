"""B19: what a text is embedded for, by each model that embeds, for one text and for several."""

from typing import Any

import jmespath
import pytest

TITAN, COHERE, COHERE_4 = "amazon.titan-embed-text-v2:0", "cohere.embed-english-v3", "cohere.embed-v4:0"
NOVA, IMAGE = "amazon.nova-2-multimodal-embeddings-v1:0", "amazon.titan-embed-image-v1"
PURPOSE = "input_type || singleEmbeddingParams.embeddingPurpose"
"""The purpose in a body of InvokeModel."""

COHERES = {kind: kind for kind in ("search_document", "search_query", "classification", "clustering", "image")}
NOVAS = {
    "search_document": "GENERIC_INDEX",
    "search_query": "TEXT_RETRIEVAL",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
}
CASES: list[tuple[str, str | None, str | None, bool]] = [
    *((model, kind, sent, False) for model in (COHERE, COHERE_4) for kind, sent in COHERES.items()),
    *((NOVA, kind, sent, False) for kind, sent in NOVAS.items()),
    (NOVA, "image", "GENERIC_INDEX", True),
    *(
        (model, None, sent, False)
        for model, sent in ((COHERE, "search_document"), (NOVA, "GENERIC_INDEX"), (TITAN, None))
    ),
    *((model, "search_document", None, False) for model in (TITAN, IMAGE)),
    *((model, kind, None, True) for model in (TITAN, IMAGE) for kind in ("search_query", "classification", "image")),
]
"""Model, `input_type`, what Bedrock gets, and whether the response names the field."""


@pytest.mark.parametrize(("model", "kind", "sent", "ignored"), CASES)
@pytest.mark.parametrize("texts", ["one", ["one", "two"]], ids=["one", "several"])
def test_what_a_text_is_embedded_for(
    client: Any, local: Any, model: str, kind: str | None, sent: str | None, ignored: bool, texts: Any
) -> None:
    response = client.embed(texts, model=model, input_type=kind)
    assert len(response.vectors) == (1 if texts == "one" else 2)
    assert {jmespath.search(PURPOSE, call["body"]) for call in local.calls()} == {sent}
    assert response.headers.get("x-oai-ignored-params") == ("input_type" if ignored else None)


@pytest.mark.parametrize("texts", ["one", ["one", "two"]], ids=["one", "several"])
@pytest.mark.parametrize("kind", ["query", "", 5, ["search_query"]])
@pytest.mark.parametrize("model", [TITAN, COHERE, NOVA])
def test_another_kind_is_rejected(client: Any, local: Any, model: str, kind: Any, texts: Any) -> None:
    response = client.embed(texts, model=model, input_type=kind)
    assert (response.status, response.error["param"]) == (400, "input_type")
    assert local.calls() == []

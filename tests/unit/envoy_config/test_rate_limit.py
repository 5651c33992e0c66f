"""The limit of requests by address."""

import json

from tests.unit.envoy_config.documents import CORS, Edit, fragment, one


def test_only_with_the_key_has_an_address_a_limit(document: Edit) -> None:
    assert "oai-address-limit" not in json.dumps([document(), fragment("filter"), fragment("route")])
    settings = "limits: {address_requests_per_second: 7}"
    assert (
        fragment("filter", settings)
        == one(document(settings)["static_resources"]["listeners"][0], "http_filters")[1:-1]
    )
    names = ["oai-address-limit", "oai-address-limit-route", "oai-extproc"]
    assert [each["name"] for each in fragment("filter", settings)] == names
    *_, route = fragment("route", settings)
    limit = route["typed_per_filter_config"]["oai-address-limit"]["config"]
    assert [each["token_bucket"]["tokens_per_fill"] for each in limit["descriptors"]] == [7]
    assert [each["token_bucket"]["max_tokens"] for each in limit["descriptors"]] == [35]
    assert limit["max_dynamic_descriptors"] == 10_000


def test_the_route_beyond_the_limit_by_address_leads_nowhere_and_stands_before_the_apis() -> None:
    limited = fragment("route", f"{CORS}\nlimits: {{address_requests_per_second: 7}}")
    assert [each["name"] for each in limited] == ["preflight", "over-limit", "bedrock", "api"]
    over = limited[1]
    assert "route" not in over
    assert "redirect" not in over
    assert over["direct_response"]["status"] == 429
    [[name, switch]] = over["typed_per_filter_config"].items()
    assert (name, switch["disabled"]) == ("oai-extproc", True)

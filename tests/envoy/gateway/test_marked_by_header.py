"""A route that matches the worker's header, for Envoys whose routes match headers and no metadata.

The configuration is changed to what Envoy Gateway makes of its overlay: the API's route is a fixed 503, Bedrock's
matches the header, and the filter has no mutation rules and leaves it to the worker to have the route looked for again.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.envoy.gateway.test_closed_route import (
    CALLS,
    FORGED,
    PATHS,
    ClosedRoute,
    ext_proc,
    manager,
    no_filter,
    no_processing,
    rig_of,
    routes,
    send_request,
    until_served,
)

HEADER = "x-forwarded-client-cert"
UNAVAILABLE = {"message": "Nobody has signed it.", "type": "server_error", "param": None, "code": "unsigned"}
MARKED = {HEADER: "signed"}


@pytest.fixture(scope="module")
def shared() -> Iterator[ClosedRoute]:
    with rig_of("--mark-by-header") as rig:
        yield rig


@pytest.fixture
def rig(shared: ClosedRoute) -> ClosedRoute:
    """The rig, whose upstream has received nothing."""
    shared.upstream.received.clear()
    return shared


def by_header(bootstrap: Any) -> None:
    """Make it what Envoy Gateway would."""
    config = ext_proc(bootstrap)["typed_config"]
    for key in ("route_cache_action", "mutation_rules", "max_message_timeout", "allow_content_length_header"):
        del config[key]
    [api, bedrock] = [each for each in routes(bootstrap) if each["name"] in ("api", "bedrock")][::-1]
    del api["route"], bedrock["match"]["dynamic_metadata"]
    body = {"inline_string": json.dumps({"error": UNAVAILABLE})}
    api |= {"direct_response": {"status": 503, "body": body}}
    content_type = {"header": {"key": "content-type", "value": "application/json"}}
    api["response_headers_to_add"] = [{**content_type, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]
    bedrock["match"]["headers"] = [{"name": HEADER, "string_match": {"exact": "signed"}}]
    bedrock["request_headers_to_remove"].append(HEADER)


def changed(mistake: Callable[[Any], None]) -> Callable[[Any], None]:
    def change(bootstrap: Any) -> None:
        by_header(bootstrap)
        mistake(bootstrap)

    return change


def never_turned_on(bootstrap: Any) -> None:
    for route in routes(bootstrap):
        route.pop("typed_per_filter_config", None)


def test_a_signed_request_finds_bedrock_and_the_mark_stays_behind(rig: ClosedRoute) -> None:
    port = rig.envoy(by_header)
    until_served(rig, port)
    assert send_request(port, rig.site.tokens["ci"], **MARKED).status == 200
    [request] = rig.upstream.received
    assert request.startswith(b"POST /model/amazon.nova-micro-v1%3A0/converse HTTP/1.1\r\n")
    assert b"AWS4-HMAC-SHA256" in request
    assert HEADER.encode() not in request
    assert rig.site.tokens["ci"].encode() not in request


@pytest.mark.parametrize("mistake", [no_filter, never_turned_on, no_processing])
def test_nothing_leaves_where_the_worker_is_not_called(rig: ClosedRoute, mistake: Callable[[Any], None]) -> None:
    port = rig.envoy(changed(mistake))
    for method, path in CALLS:
        for headers in ({}, MARKED):
            result = send_request(port, rig.site.tokens["ci"], method, path, **headers)
            assert (result.status, result.error["code"]) == (503, "unsigned")
    assert rig.upstream.received == []


@pytest.mark.parametrize("mistake", [by_header, changed(no_filter), changed(never_turned_on)])
def test_no_caller_opens_the_route(rig: ClosedRoute, mistake: Callable[[Any], None]) -> None:
    port = rig.envoy(mistake)
    for path in PATHS:
        for headers in (MARKED, {**FORGED, **MARKED}, {"X-Forwarded-Client-Cert": "signed"}):
            assert send_request(port, rig.site.tokens["ci"], "POST", path, **headers).status == 404
    assert rig.upstream.received == []


def test_a_configuration_that_lets_a_caller_open_the_route_is_detected(rig: ClosedRoute) -> None:
    """The test above would notice: where Envoy forwards the header, the route is open."""

    def forwarded(bootstrap: Any) -> None:
        by_header(bootstrap)
        never_turned_on(bootstrap)
        manager(bootstrap)["forward_client_cert_details"] = "ALWAYS_FORWARD_ONLY"

    port = rig.envoy(forwarded)
    assert send_request(port, rig.site.tokens["ci"], "POST", PATHS[0], **MARKED).status == 200
    assert len(rig.upstream.received) == 1

"""Envoy's configuration for each stack: the gateway's own, and what remains of it without the gateway.

So the floor and bare Envoy differ from the gateway's Envoy in nothing but the processor: the same listener, filters,
timeouts, buffers and clusters. Pure: a bootstrap in, a bootstrap out.
"""

import copy
from typing import Any

Bootstrap = dict[str, Any]

EXT_PROC = "envoy.filters.http.ext_proc"
HEALTH = "envoy.filters.http.health_check"
PROCESSOR = "processor"
BEDROCK = "bedrock"


def at(gateway: Bootstrap, socket: str) -> Bootstrap:
    """The gateway's own, with its worker on this socket."""
    made = copy.deepcopy(gateway)
    [locality] = _processor(made)["load_assignment"]["endpoints"]
    [endpoint] = locality["lb_endpoints"]
    endpoint["endpoint"]["address"] = {"pipe": {"path": socket}}
    return made


def without_processor(gateway: Bootstrap) -> Bootstrap:
    """Bare Envoy: every path goes to Bedrock as it is."""
    made = _direct(gateway)
    manager = _manager(made)
    manager["http_filters"] = [each for each in manager["http_filters"] if each["name"] != EXT_PROC]
    del _api(manager)["typed_per_filter_config"]
    resources = made["static_resources"]
    resources["clusters"] = [cluster for cluster in resources["clusters"] if cluster["name"] != PROCESSOR]
    return made


def with_noop(gateway: Bootstrap) -> Bootstrap:
    """The floor: the gateway's filter and modes, for a processor that has no health service and changes nothing."""
    made = _direct(gateway)
    _processor(made).pop("health_checks", None)
    return made


def _direct(gateway: Bootstrap) -> Bootstrap:
    """Bedrock's own paths are let through, and /healthz, which asks for the processor's health, is not there."""
    made = copy.deepcopy(gateway)
    manager = _manager(made)
    manager["http_filters"] = [each for each in manager["http_filters"] if each["name"] != HEALTH]
    api = _api(manager)
    api["match"] = {"prefix": "/"}
    api["route"]["cluster"] = BEDROCK
    [host] = manager["route_config"]["virtual_hosts"]
    host["routes"] = [api]
    return made


def _processor(bootstrap: Bootstrap) -> Any:
    [cluster] = [each for each in bootstrap["static_resources"]["clusters"] if each["name"] == PROCESSOR]
    return cluster


def _manager(bootstrap: Bootstrap) -> Any:
    [listener] = bootstrap["static_resources"]["listeners"]
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


def _api(manager: Any) -> Any:
    [host] = manager["route_config"]["virtual_hosts"]
    [api] = [route for route in host["routes"] if route["name"] == "api"]
    return api

"""The bootstrap as a whole, the parts of it for an Envoy that runs already, and both as YAML and JSON.

Decisions: docs/decisions.md, D53, D146.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, cast

import yaml
from betterproto2 import Casing, Message
from envoy_data_plane.envoy.config.bootstrap.v3 import (
    Admin,
    Bootstrap,
    BootstrapStaticResources,
    LayeredRuntime,
    RuntimeLayer,
)
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.config.listener.v3 import FilterChain, Listener
from envoy_data_plane.google.protobuf import Struct

from extproc.envoy_config import CallersSecret, CallersTls, EnvoyPlan, Fragment, ProcessorTls, SecretKind
from extproc.envoy_config.callers_tls import callers_secret, callers_tls
from extproc.envoy_config.clusters import bedrock_cluster, processor_cluster, unprocessed_cluster
from extproc.envoy_config.filters import api_filters
from extproc.envoy_config.global_rate_limit import global_limit_clusters
from extproc.envoy_config.health import connection_limit, health_clusters, health_listener
from extproc.envoy_config.jwt import jwks_clusters, jwks_tunnels
from extproc.envoy_config.ledger import ledger_loggers
from extproc.envoy_config.listener import READ_SECONDS, api_routes, listener
from extproc.envoy_config.messages import address_message
from extproc.envoy_config.otlp import otlp_clusters
from extproc.envoy_config.overload import overload_manager
from extproc.envoy_config.replies import foreign_replies
from extproc.envoy_config.tls import processor_secret
from extproc.envoy_config.tunnel import bedrock_tunnel, proxy_cluster, tunnel_extension
from extproc.envoy_config.usage_metrics import count_usage, is_counted, usage_loggers
from extproc.net import Address

_SOCKET_MODE = 0o660
"""Mode of the admin socket: the process that drains Envoy may be another user of the same group, as in a pod."""

_BY = "# Rendered by `oai-extproc envoy-config"
_WHOLE = f"{_BY}`, for Envoy 1.40: render it again rather than editing it.\n"
_WHERE: dict[Fragment, str] = {
    "filter": "for `http_filters`, right before the router",
    "cluster": "for `clusters`",
    "route": "for `routes` of a virtual host, before any that matches /oai/v1 too",
    "reply": "for `local_reply_config.mappers`, before any other",
    "metrics": "for `access_log` of the connection manager, see docs/attach.md",
    "tunnel": "for `listeners`; add envoy.bootstrap.internal_listener to `bootstrap_extensions`, see docs/attach.md",
}


def to_yaml(plan: EnvoyPlan, only: Fragment | None = None) -> str:
    """Render for people: field names as Envoy's documentation has them."""
    comment = f"{_BY} --only {only}`, for Envoy 1.40: {_WHERE[only]}.\n" if only else _WHOLE
    return comment + _dump(_document(plan, only))


def to_json(plan: EnvoyPlan, only: Fragment | None = None) -> str:
    """Render for programs: the same document."""
    return json.dumps(_document(plan, only), indent=2) + "\n"


def secret_to_yaml(tls: ProcessorTls, kind: SecretKind) -> str:
    """Render one file of `tls.secrets`."""
    return _secret_file(kind, tls.secret_file(kind), processor_secret(tls, kind))


def callers_secret_to_yaml(tls: CallersTls, kind: CallersSecret) -> str:
    """Render one file of `tls.secrets`."""
    return _secret_file(kind, tls.secret_file(kind), callers_secret(tls, kind))


def tls_check_to_yaml(tls: CallersTls) -> str:
    """Render a listener with this TLS, and nothing else."""
    chain = FilterChain(transport_socket=callers_tls(tls))
    anywhere = Listener(name="check", address=address_message(Address("127.0.0.1", 0)), filter_chains=[chain])
    return _yaml(Bootstrap(static_resources=BootstrapStaticResources(listeners=[anywhere])))


def bootstrap(plan: EnvoyPlan) -> Bootstrap:
    """Return the document as a typed message."""
    listeners, clusters = [listener(plan), *_tunnel(plan)], _clusters(plan)
    if plan.health is not None:
        listeners.append(health_listener(plan, plan.health))
        clusters += health_clusters(plan)
    whole = Bootstrap(
        node=_node(plan),
        admin=Admin(address=address_message(plan.admin, mode=_SOCKET_MODE)) if plan.admin else None,
        layered_runtime=LayeredRuntime(layers=[_runtime(plan)]),
        bootstrap_extensions=[tunnel_extension()] if plan.any_proxy else [],
        overload_manager=overload_manager(plan),
        static_resources=BootstrapStaticResources(listeners=listeners, clusters=clusters),
    )
    if is_counted(plan):
        count_usage(whole)
    return whole


def fragment(plan: EnvoyPlan, only: Fragment) -> Sequence[Message]:
    """Return the parts of this kind that carry the API, and nothing that an Envoy has of its own."""
    match only:
        case "filter":
            return api_filters(plan)
        case "cluster":
            return _clusters(plan)
        case "route":
            return api_routes(plan)
        case "reply":
            return foreign_replies(plan)
        case "metrics":
            return [*usage_loggers(plan), *ledger_loggers(plan)]
        case "tunnel":
            return _tunnel(plan)


def _clusters(plan: EnvoyPlan) -> list[Cluster]:
    through = [proxy_cluster(plan, plan.any_proxy)] if plan.any_proxy else []
    bedrock = [bedrock_cluster(plan, upstream) for upstream in plan.upstreams()]
    others = [*jwks_clusters(plan), *global_limit_clusters(plan), *otlp_clusters(plan)]
    return [processor_cluster(plan), *bedrock, *through, *others, unprocessed_cluster()]


def _tunnel(plan: EnvoyPlan) -> list[Listener]:
    bedrock = [bedrock_tunnel(upstream, plan.proxy) for upstream in plan.upstreams()] if plan.proxy else []
    return [*bedrock, *jwks_tunnels(plan)]


def _node(plan: EnvoyPlan) -> Node | None:
    """Return Envoy's name, without which it follows no secrets."""
    followed = any(tls is not None and tls.secrets for tls in (plan.processor_tls, plan.callers_tls))
    return Node(id="oai-gateway", cluster="oai-gateway") if followed else None


def _runtime(plan: EnvoyPlan) -> RuntimeLayer:
    """Return Envoy's runtime flags: the health listener's limit, and those against floods of requests that are reset.

    `http.max_requests_per_io_cycle` is how many requests one connection may open in one turn of Envoy's event loop;
    the next ones wait for the next turn. Without it, Envoy starts a stream to a worker for each of hundreds of requests
    before it reads that they were reset, and takes gigabytes for them.
    `overload.premature_reset_total_stream_count` is how many requests a connection may have had, half of them reset
    within a second, before Envoy closes it.
    """
    flags = {"http.max_requests_per_io_cycle": 1.0, "overload.premature_reset_total_stream_count": 100.0}
    if plan.health is not None:
        flags.update([connection_limit(plan)])
    return RuntimeLayer(name="static", static_layer=Struct.from_dict(flags))


def _document(plan: EnvoyPlan, only: Fragment | None) -> Any:
    if only is None:
        return _with_reading_time(_plain(bootstrap(plan)))
    return [_plain(message) for message in fragment(plan, only)]


def _with_reading_time(document: dict[str, Any]) -> dict[str, Any]:
    """Return `document`, its listeners closing a connection whose caller leaves too much unread for too long.

    Envoy has the field since 1.38; the typed messages of envoy-data-plane 2.2 have it not. A tunnel has no caller: over
    HTTP/2 it carries the calls of many, and ends with them.
    """
    for each in document["static_resources"]["listeners"]:
        if "internal_listener" not in each:
            each["per_connection_buffer_high_watermark_timeout"] = f"{READ_SECONDS:.0f}s"
    return document


def _secret_file(kind: str, path: str, secret: Message) -> str:
    return f"{_BY} --secret {kind}`, for Envoy 1.40: {path}.\n{_yaml(secret)}"


def _yaml(message: Message) -> str:
    return _dump(_plain(message))


def _dump(document: Any) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=110)


def _plain(message: Message) -> dict[str, Any]:
    # Any function from a field's name to its spelling will do; Casing.SNAKE makes consecutive_5xx consecutive_5_xx.
    as_declared = cast(Casing, str)
    plain: dict[str, Any] = message.to_dict(casing=as_declared)
    return plain


class _Dumper(yaml.SafeDumper):
    """YAML without anchors: a block that stands twice is written twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True


# Envoy reads a bare y or n as true or false, as YAML 1.1 has it; PyYAML does not, and would leave out the quotes.
_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"[yYnN]\Z"), list("yYnN"))

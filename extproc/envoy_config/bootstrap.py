"""The bootstrap as a whole, and its two spellings."""

import json
from typing import Any, cast

import yaml
from betterproto2 import Casing
from envoy_data_plane.envoy.config.bootstrap.v3 import (
    Admin,
    Bootstrap,
    BootstrapStaticResources,
    LayeredRuntime,
    RuntimeLayer,
)
from envoy_data_plane.envoy.config.overload.v3 import OverloadManager, ResourceMonitor
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 import (
    DownstreamConnectionsConfig,
)
from envoy_data_plane.google.protobuf import Struct

from extproc.envoy_config import Plan
from extproc.envoy_config.clusters import bedrock_cluster, processor_cluster
from extproc.envoy_config.listener import listener
from extproc.envoy_config.messages import address_message, packed

_COMMENT = "# Rendered by `oai-extproc envoy-config`, for Envoy 1.40: render it again rather than editing it.\n"


def to_yaml(plan: Plan) -> str:
    """For people: field names as Envoy's documentation has them."""
    return _COMMENT + yaml.dump(_document(plan), Dumper=_Dumper, sort_keys=False, width=110)


def to_json(plan: Plan) -> str:
    """For programs; the same document."""
    return json.dumps(_document(plan), indent=2) + "\n"


def bootstrap(plan: Plan) -> Bootstrap:
    """The document as a typed message."""
    return Bootstrap(
        admin=Admin(address=address_message(plan.admin)) if plan.admin else None,
        layered_runtime=LayeredRuntime(layers=[_runtime()]),
        overload_manager=OverloadManager(resource_monitors=[_connection_limit()]),
        static_resources=BootstrapStaticResources(
            listeners=[listener(plan)], clusters=[processor_cluster(plan), bedrock_cluster(plan)]
        ),
    )


def _runtime() -> RuntimeLayer:
    """The worker sees the end of a stream as its end, not as a cancellation."""
    flags = Struct.from_dict({"envoy.reloadable_features.ext_proc_graceful_grpc_close": True})
    return RuntimeLayer(name="static", static_layer=flags)


def _connection_limit() -> ResourceMonitor:
    """Envoy wants one, so that it never runs out of file descriptors."""
    limit = DownstreamConnectionsConfig(max_active_downstream_connections=20_000)
    return ResourceMonitor(name="envoy.resource_monitors.global_downstream_max_connections", typed_config=packed(limit))


def _document(plan: Plan) -> dict[str, Any]:
    # Any function from a field's name to its spelling will do; Casing.SNAKE makes consecutive_5xx consecutive_5_xx.
    as_declared = cast(Casing, str)
    document: dict[str, Any] = bootstrap(plan).to_dict(casing=as_declared)
    return document


class _Dumper(yaml.SafeDumper):
    """YAML without anchors: a block that stands twice is written twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True

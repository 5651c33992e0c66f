"""A collector of OpenTelemetry's logs in a thread, with OpenTelemetry's own messages."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse

SERVICE = "opentelemetry.proto.collector.logs.v1.LogsService"


class Collector:
    """A collector whose `records` are the attributes of what has arrived, in order.

    `failing` messages, the next ones, get an error that OpenTelemetry calls retryable, and are not kept; `forgetful`
    ones are kept, and get the same error.
    """

    def __init__(self) -> None:
        self.records: list[dict[str, str]] = []
        self.resources: list[dict[str, str]] = []
        self.failing = 0
        self.forgetful = 0
        self.port = 0
        self._server: grpc.Server | None = None

    @property
    def settings(self) -> dict[str, str]:
        return {"endpoint": f"http://127.0.0.1:{self.port}"}

    def start(self) -> None:
        """Listen: on a free port at first, and on the same one after a `stop`."""
        handler: Any = grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=ExportLogsServiceRequest.FromString,
            response_serializer=ExportLogsServiceResponse.SerializeToString,
        )
        self._server = grpc.server(ThreadPoolExecutor(1))
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Export": handler}),))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        """Close the port, and all connections."""
        if self._server is not None:
            self._server.stop(0).wait()
            self._server = None

    def of(self, request_id: str) -> list[dict[str, str]]:
        """Return the records of a call."""
        return [each for each in self.records if each["request_id"] == request_id]

    def _export(self, request: Any, context: Any) -> Any:
        if self.failing:
            self.failing -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        for resource in request.resource_logs:
            self.resources.append(plain(resource.resource.attributes))
            self.records += [plain(record.attributes) for scope in resource.scope_logs for record in scope.log_records]
        if self.forgetful:
            self.forgetful -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "was that something?")
        return ExportLogsServiceResponse()


def plain(attributes: Any) -> dict[str, str]:
    """Return attributes whose values are texts."""
    assert all(each.value.WhichOneof("value") == "string_value" for each in attributes)
    return {each.key: each.value.string_value for each in attributes}

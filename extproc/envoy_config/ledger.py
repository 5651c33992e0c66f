"""The ledger of usage: when a call ends, Envoy adds a line of JSON to a file, or sends a record to a collector.

The values are those that a worker has told Envoy about the call so far (`telemetry.record`), so that a call whose
client leaves, or whose worker is killed, has its line too.

The invariant: a line has nothing of a request but the model's name, and nothing of a response. A call without a known
token has no line: strangers do not fill the disk.

Decisions: docs/decisions.md, D249, D263.
"""

from betterproto2 import Message
from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.core.v3 import SubstitutionFormatString
from envoy_data_plane.envoy.extensions.access_loggers.file.v3 import FileAccessLog
from envoy_data_plane.google.protobuf import Struct

from extproc.envoy_config import EnvoyPlan
from extproc.envoy_config.messages import packed
from extproc.envoy_config.otlp import otlp_log
from extproc.envoy_config.usage_metrics import at_the_end, has_text
from extproc.shared_names import METADATA_NAMESPACE

_OF_ENVOY = {
    "id": "%UNIQUE_ID%",
    "start": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "duration_ms": "%DURATION%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
}
"""`id` is of a call, whatever its caller sends: a line that is read twice is known by it."""

_OF_THE_RECORD = (
    "request_id",
    "organisation",
    "token",
    "operation",
    "model",
    "bedrock_model",
    "known_model",
    "region",
    "stream",
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_micro_usd",
    "priced",
    "estimated",
    "finish",
    "time_to_first_token_ms",
    "bedrock_request_id",
)

_COUNTS = frozenset(
    {
        "input_tokens",
        "cached_tokens",
        "cache_write_tokens",
        "output_tokens",
        "reasoning_tokens",
        "cost_micro_usd",
        "time_to_first_token_ms",
    }
)
"""Those that are whole numbers. As a text, Envoy writes a number with six digits: 1234567 is 1.23457e+06."""


def ledger_loggers(plan: EnvoyPlan) -> list[AccessLog]:
    """Return the access loggers of the ledger; none where there is no ledger."""
    usage = plan.settings.usage
    loggers = []
    if usage.ledger is not None:
        loggers.append(_logger("envoy.access_loggers.file", _file(usage.ledger)))
    if usage.otlp is not None:
        loggers.append(_logger("envoy.access_loggers.open_telemetry", otlp_log(_texts())))
    return loggers


def _logger(name: str, config: Message) -> AccessLog:
    """Return a logger of calls whose organisation is known, at their end."""
    return AccessLog(name=name, filter=at_the_end([has_text("organisation")]), typed_config=packed(config))


def _file(path: str) -> FileAccessLog:
    line = SubstitutionFormatString(json_format=Struct.from_dict(_fields()))
    return FileAccessLog(path=path, log_format=line)


def _fields() -> dict[str, str]:
    return {**_OF_ENVOY, **{name: f"%DYNAMIC_METADATA({METADATA_NAMESPACE}:{name})%" for name in _OF_THE_RECORD}}


def _texts() -> dict[str, str]:
    """Return the same fields where each becomes a text, with all digits."""
    counts = {name: f"%CEL(int(metadata.filter_metadata['{METADATA_NAMESPACE}'].{name}))%" for name in _COUNTS}
    return {name: counts.get(name, field) for name, field in _fields().items()}

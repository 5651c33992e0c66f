"""The ledger in a file, and at a collector."""

from tests.unit.envoy_config.documents import Edit, cluster, every, fragment, one


def test_a_ledger_is_one_more_logger_with_or_without_metrics(document: Edit) -> None:
    for settings in ("{ledger: /var/usage.jsonl}", "{ledger: /var/usage.jsonl}, metrics: {usage: false}"):
        [logger] = [
            each
            for each in one(document(f"{{usage: {settings}}}"), "access_log")
            if each["name"] == "envoy.access_loggers.file"
        ]
        assert logger == fragment("metrics", settings=f"{{usage: {settings}}}")[-1]
        assert logger["typed_config"]["path"] == "/var/usage.jsonl"


def test_a_collector_gets_what_the_file_gets(document: Edit) -> None:
    settings = "{usage: {otlp: {endpoint: 'http://[::1]:4317/'}}}"
    rendered = document(settings)
    [logger] = [each for each in one(rendered, "access_log") if "open_telemetry" in each["name"]]
    assert logger == fragment("metrics", settings=settings)[-1]
    [in_file] = every(fragment("metrics", settings="{usage: {ledger: /a}}")[-1], "json_format")
    named = [each["key"] for each in logger["typed_config"]["attributes"]["values"]]
    assert sorted(named) == sorted(in_file)
    [endpoint] = every(cluster(rendered, "usage_collector"), "socket_address")
    assert endpoint == {"address": "::1", "port_value": 4317}

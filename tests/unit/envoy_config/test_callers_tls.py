"""TLS of callers."""

import yaml

from extproc.envoy_config import CallersTls, render_callers_secret
from tests.unit.envoy_config.documents import Edit, every, one


def test_callers_have_http2_and_http1_over_tls(document: Edit) -> None:
    [chain] = document(callers_tls=CallersTls("/c.pem", "/k.pem"))["static_resources"]["listeners"][0]["filter_chains"]
    assert one(chain["transport_socket"], "alpn_protocols") == ["h2", "http/1.1"]
    assert not list(every(chain["transport_socket"], "require_client_certificate"))
    assert chain["transport_socket_connect_timeout"] == "15s"


def test_the_handshakes_time_is_the_only_one_before_it(document: Edit) -> None:
    """An inspector would not see that a connection has been reset."""
    rendered = document(callers_tls=CallersTls("/c.pem", "/k.pem"))
    assert not list(every(rendered, "listener_filters"))


def test_an_envoy_that_follows_callers_files_has_a_name(document: Edit) -> None:
    tls = CallersTls("/tls/c.pem", "/tls/k.pem", "/ca/ca.pem", secrets="/sds")
    rendered = document(callers_tls=tls)
    assert rendered["node"]
    listener = rendered["static_resources"]["listeners"][0]
    assert list(every(one(listener, "transport_socket"), "path")) == ["/sds/tls.yaml", "/sds/tls-client-ca.yaml"]
    for kind, folder in (("tls", "/tls"), ("tls-client-ca", "/ca")):
        [secret] = yaml.safe_load(render_callers_secret(tls, kind))["resources"]
        assert secret["name"] == kind
        assert one(secret, "watched_directory") == {"path": folder}


def test_files_in_several_folders_are_watched_where_they_are() -> None:
    """Without a folder Envoy watches those of all files."""
    secret = render_callers_secret(CallersTls("/certs/c.pem", "/private/k.pem", secrets="/sds"), "tls")
    assert "watched_directory" not in secret

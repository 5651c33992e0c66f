"""The proxy of the environment: what its variables mean, with botocore as the oracle; no text has a password."""

import base64
import os

import pytest
from botocore.httpsession import ProxyConfiguration
from botocore.utils import get_environ_proxies
from hypothesis import given
from hypothesis import strategies as st

from extproc.net import Address
from extproc.proxy import Proxy, ProxyError, proxy_for

AWS = "https://bedrock-runtime.us-east-1.amazonaws.com"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("value", "proxy"),
    [
        ("http://proxy.corp:3128", Proxy(Address("proxy.corp", 3128))),
        ("http://proxy.corp:3128/", Proxy(Address("proxy.corp", 3128))),
        ("proxy.corp:3128", Proxy(Address("proxy.corp", 3128))),
        ("//proxy.corp:3128", Proxy(Address("proxy.corp", 3128))),
        ("http://proxy.corp", Proxy(Address("proxy.corp", 80))),
        ("HTTP://Proxy.Corp:1", Proxy(Address("proxy.corp", 1))),
        ("http://[fd00::1]:3128", Proxy(Address("fd00::1", 3128))),
        (" http://proxy.corp:3128\n", Proxy(Address("proxy.corp", 3128))),
        ("http://u:p@10.0.0.1:3128", Proxy(Address("10.0.0.1", 3128), basic("u", "p"))),
        ("http://u%40corp:p%3A%2F%23@10.0.0.1:3128", Proxy(Address("10.0.0.1", 3128), basic("u@corp", "p:/#"))),
        ("http://u@10.0.0.1:3128", Proxy(Address("10.0.0.1", 3128), basic("u", ""))),
        ("http://ü:ß@10.0.0.1:3128", Proxy(Address("10.0.0.1", 3128), basic("ü", "ß"))),
    ],
)
def test_urls_of_proxies(value: str, proxy: Proxy) -> None:
    assert proxy_for(AWS, {"HTTPS_PROXY": value}) == proxy


@pytest.mark.parametrize(
    "value",
    [
        "https://u:secret@proxy.corp:3128",
        "socks5://u:secret@proxy.corp:1080",
        "http://u:secret/x@proxy.corp:3128",
        "http://u:secret#x@proxy.corp:3128",
        "http://u:secret?x@proxy.corp:3128",
        "http://u:secret@",
        "http://u:secret@:3128",
        "http://u:secret@proxy.corp:0",
        "http://u:secret@proxy.corp:99999",
        "http://u:secret@proxy corp:3128",
        "http://u:secret@[fd00::1:3128",
        "http://u:secret@proxy.corp:3128/path",
        "http://u:secret@%ENVIRONMENT(X)%:3128",
    ],
)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_what_is_no_proxy_is_rejected_without_its_password(name: str, value: str) -> None:
    with pytest.raises(ProxyError) as caught:
        proxy_for(AWS, {name: value})
    message = str(caught.value)
    assert message.startswith(f"{name} is not the URL of a proxy")
    assert "http://USER:PASSWORD@HOST:PORT" in message
    assert "secret" not in message
    assert caught.value.__cause__ is None


def test_a_proxy_shows_no_password() -> None:
    proxy = proxy_for(AWS, {"HTTPS_PROXY": "http://user:secret@proxy.corp:3128"})
    assert proxy is not None
    assert str(proxy) == "http://proxy.corp:3128"
    for text in (str(proxy), repr(proxy)):
        assert "secret" not in text
        assert proxy.authorization not in text
    assert proxy.headers == {"proxy-authorization": basic("user", "secret")}


@pytest.mark.parametrize(
    ("environ", "port"),
    [
        ({}, None),
        ({"HTTP_PROXY": "http://p:1", "ALL_PROXY": "http://p:1"}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTPS_PROXY": "http://p:1"}, 1),
        ({"https_proxy": "http://p:2"}, 2),
        ({"HTTPS_PROXY": "http://p:1", "https_proxy": "http://p:2"}, 2),
        ({"HTTPS_PROXY": "http://p:1", "https_proxy": ""}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "amazonaws.com"}, None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "amazonaws.com"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "amazonaws.com", "no_proxy": "example.com"}, 1),
    ],
)
def test_which_variable_counts(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], port: int | None) -> None:
    proxy = proxy_for(AWS, environ)
    assert (proxy.address.port if proxy else None) == port
    assert _of_botocore(monkeypatch, AWS, environ) == (f"http://p:{port}" if port else None)


NAMES = ("example.com", "a.example.com", "example.org", "localhost", "10.0.0.1", "[::1]")


@given(
    host=st.sampled_from(NAMES),
    port=st.sampled_from(["", ":8443"]),
    exempt=st.lists(
        st.sampled_from(
            [*NAMES, ".example.com", "*", "*.com", "com", "10.0.0.0/8", "example.com:8443", " EXAMPLE.org", ""]
        ),
        max_size=3,
    ),
)
def test_no_proxy_means_what_it_means_to_botocore(host: str, port: str, exempt: list[str]) -> None:
    environ = {"HTTPS_PROXY": "http://p:1", "NO_PROXY": ",".join(exempt)}
    with pytest.MonkeyPatch.context() as monkeypatch:
        expected = _of_botocore(monkeypatch, f"https://{host}{port}", environ)
    proxy = proxy_for(f"https://{host}{port}", environ)
    assert (str(proxy) if proxy else None) == expected


def test_calls_in_plain_http_have_no_proxy() -> None:
    assert proxy_for("http://127.0.0.1:9000", {"HTTPS_PROXY": "http://p:1", "HTTP_PROXY": "http://p:1"}) is None


def _of_botocore(monkeypatch: pytest.MonkeyPatch, url: str, environ: dict[str, str]) -> str | None:
    """Return the proxy that botocore takes for `url`."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    found: str | None = ProxyConfiguration(get_environ_proxies(url)).proxy_url_for(url)
    return found

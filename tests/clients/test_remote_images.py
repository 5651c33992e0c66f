"""Images by http(s) URL with OpenAI's Python SDK: fetched by the gateway, or rejected at the place that names them.

No test may depend on the internet. For the gateway in `public` one loopback address, at one port, counts as public:
nothing else about the way to an image is changed, and every other address is as forbidden as ever.
"""

import base64
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from openai import BadRequestError, OpenAI

CLAUDE = "anthropic.claude-sonnet-4-6"
NOVA = "amazon.nova-lite-v1:0"

GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
PLACE = "messages[0].content[1].image_url.url"

COUNTS_AS_PUBLIC = """
from ipaddress import ip_network

from extproc.worker.image_fetcher import Fetcher

Fetcher.__init__.__kwdefaults__.update(ports=frozenset({{{port}}}), allow=[ip_network("127.0.0.1")])
"""


class WebSite(BaseHTTPRequestHandler):
    """A web site with an image, a page, an image that is too large, and redirects."""

    requested: list[str]

    def do_GET(self) -> None:
        self.requested.append(self.path)
        port = self.server.server_address[1]
        moved = {"/moved": "/a.gif", "/inside": f"http://127.0.0.2:{port}/a.gif", "/home": f"http://localhost:{port}/"}
        self.send_response(302 if self.path in moved else 404 if self.path == "/gone" else 200)
        if self.path in moved:
            self.send_header("location", moved[self.path])
        body = {"/page": b"<html>No image at all.</html>", "/large": GIF + bytes(4000)}.get(self.path, GIF)
        self.send_header("content-type", "image/png")  # which is false
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Return the server's URL."""
    WebSite.requested = []
    with ThreadingHTTPServer(("127.0.0.1", 0), WebSite) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def public(start_gateway: Any, site: str, tmp_path: Path) -> Iterator[OpenAI]:
    """A client of a gateway to which the site is on the public internet."""
    WebSite.requested.clear()
    folder = tmp_path / "python"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(COUNTS_AS_PUBLIC.format(port=site.rpartition(":")[2]))
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    gateway = start_gateway({"media": {"max_bytes": 2000}}, env={"PYTHONPATH": path})
    with OpenAI(base_url=gateway.url, api_key=gateway.tokens["ci"], max_retries=0, timeout=20) as client:
        yield client


def see(*urls: str) -> Any:
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, *images]}]


def test_images_of_the_web_are_fetched_and_sent(public: OpenAI, site: str) -> None:
    for model in (CLAUDE, NOVA):
        parameters: Any = {"model": model, "messages": see(f"{site}/a.gif", f"{site}/moved", f"{site}/a.gif")}
        whole = public.chat.completions.create(**parameters).choices[0].message.content
        assert whole is not None
        assert "3 images" in whole
        with public.chat.completions.stream(**parameters) as stream:
            assert stream.get_final_completion().choices[0].message.content == whole
    assert sorted(WebSite.requested) == sorted(["/a.gif", "/moved", "/a.gif"] * 4)


def test_an_image_that_cannot_be_fetched_is_a_bad_request_with_its_reason(public: OpenAI, site: str) -> None:
    errors = {
        "/gone": ("failed_to_download_image", "status 404"),
        "/page": ("invalid_image_format", "no PNG, JPEG, GIF or WebP image"),
        "/large": ("image_too_large", "more than 2000 bytes"),
        "/inside": ("invalid_image_url", r"127\.0\.0\.2 \(loopback\)"),
        "/home": ("invalid_image_url", "localhost"),
    }
    for path, (code, words) in errors.items():
        for stream in (False, True):
            with pytest.raises(BadRequestError, match=words) as rejected:
                public.chat.completions.create(model=CLAUDE, messages=see(site + path), stream=stream)
            error = rejected.value
            assert (error.param, error.code, error.type) == (PLACE, code, "invalid_request_error")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "10.0.0.1",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "0x7f000001",
        "[::ffff:7f00:1]",
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_nothing_inside_is_reached(client: OpenAI, local: Any, host: str, stream: bool) -> None:
    with pytest.raises(BadRequestError, match="data: URL") as rejected:
        client.chat.completions.create(model=CLAUDE, messages=see(f"http://{host}/latest/meta-data/"), stream=stream)
    assert (rejected.value.param, rejected.value.code) == (PLACE, "invalid_image_url")
    assert local.calls() == []


def test_no_port_of_this_machine_is_reached(client: OpenAI, local: Any, site: str) -> None:
    WebSite.requested.clear()
    with pytest.raises(BadRequestError) as rejected:
        client.chat.completions.create(model=CLAUDE, messages=see(f"{site}/a.gif"))
    assert rejected.value.param == PLACE
    assert WebSite.requested == []
    assert local.calls() == []


def test_fetching_can_be_switched_off(start_gateway: Any) -> None:
    gateway = start_gateway({"media": {"fetch": False}})
    with (
        OpenAI(base_url=gateway.url, api_key=gateway.tokens["ci"], max_retries=0, timeout=20) as client,
        pytest.raises(BadRequestError, match="data: URL") as rejected,
    ):
        client.chat.completions.create(model=CLAUDE, messages=see("https://example.com/cat.png"))
    assert rejected.value.param == PLACE

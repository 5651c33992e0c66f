"""A page in a real Chromium, of another origin than the gateway's, with OpenAI's Node SDK."""

import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.limits import INSTALLATION_LIMIT

pytestmark = pytest.mark.timeout(INSTALLATION_LIMIT)

FOLDER = Path(__file__).parent / "node"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DEADLINE = 240.0
NOVA = "amazon.nova-micro-v1:0"


class Site(ThreadingHTTPServer):
    """The page, the SDK's modules and the settings; what the page reports comes out of `results`."""

    daemon_threads = True
    request_queue_size = 128
    """A browser opens many connections at once; with the library's 5, some wait for a second try of TCP's."""

    def __init__(self) -> None:
        self.results: queue.Queue[Any] = queue.Queue()
        self.settings: dict[str, str] = {}
        super().__init__(("127.0.0.1", 0), Files)

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.server_port}"


class Files(SimpleHTTPRequestHandler):
    """The files of tests/clients/node."""

    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}  # noqa: RUF012
    server: Site

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, directory=str(FOLDER))

    def do_GET(self) -> None:
        if self.path == "/settings.json":
            self._answer(json.dumps(self.server.settings).encode())
        else:
            super().do_GET()

    def do_POST(self) -> None:
        self.server.results.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self._answer(b"{}")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield site
        site.shutdown()
        thread.join()


@pytest.fixture
def browse(site: Site, tmp_path: Path) -> Iterator[Callable[[str], Any]]:
    """Open a page of the site in a browser, and return what it reports."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("Chromium is not installed: `make debian` does it")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    processes: list[subprocess.Popen[bytes]] = []

    def open_page(path: str) -> Any:
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        with (tmp_path / "chromium.log").open("wb") as log:
            command = [program, *options, profile, "--enable-logging=stderr", f"{site.origin}{path}"]
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))
        try:
            return site.results.get(timeout=DEADLINE)
        except queue.Empty:
            raise AssertionError((tmp_path / "chromium.log").read_text(errors="replace")) from None

    yield open_page
    for process in processes:
        process.terminate()
        process.wait(DEADLINE)


@pytest.mark.usefixtures("node")
def test_a_page_calls_the_gateway_with_openais_sdk(
    site: Site, browse: Callable[[str], Any], start_gateway: Any
) -> None:
    gateway = start_gateway({"cors": {"origins": [site.origin]}})
    site.settings = {"baseURL": gateway.url, "apiKey": gateway.tokens["ci"], "model": NOVA}
    results = browse("/page.html")
    assert "chat" in results, results
    assert results["chat"] == {"content": "1 2 3 4 5", "id": results["chat"]["id"], "organisation": "acme"}
    assert len(results["chat"]["id"]) == 36
    assert results["streaming"]["content"] == "1 2 3 4 5"
    assert results["streaming"]["pieces"] > 1
    rejected = {name: (results[name].get("status"), results[name].get("code")) for name in results if "wrong" in name}
    assert rejected == {
        "wrongKey": (401, "invalid_api_key"),
        "wrongModel": (404, "model_not_found"),
        "wrongPath": (404, None),
    }
    assert all(len(results[name]["id"]) == 36 for name in rejected)


@pytest.mark.usefixtures("node")
def test_a_page_of_another_origin_gets_nothing(site: Site, browse: Callable[[str], Any], start_gateway: Any) -> None:
    gateway = start_gateway({"cors": {"origins": [site.origin.replace("localhost", "127.0.0.1")]}})
    site.settings = {"baseURL": gateway.url, "apiKey": gateway.tokens["ci"], "model": NOVA}
    results = browse("/page.html")
    assert {result.get("kind") for result in results.values()} == {"APIConnectionError"}, results

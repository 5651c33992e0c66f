"""A scraper of Envoy's `/metrics`."""

import time
import urllib.request
from urllib.error import HTTPError

DEADLINE = 60.0


def scrape(address: str) -> str:
    """Return the page at HOST:PORT; there is one a second, so it waits where the test was faster."""
    end = time.monotonic() + DEADLINE
    while True:
        try:
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=DEADLINE) as response:
                return str(response.read().decode())
        except HTTPError as error:
            error.close()
            if error.code != 429 or time.monotonic() > end:
                raise
        time.sleep(0.2)

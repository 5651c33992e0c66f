"""An application beside the gateway's sidecars, which calls at its start and in its SIGTERM handler.

It runs in a container with the standard library alone, and prints a line for each call.
"""

import json
import os
import signal
import urllib.request

BASE_URL = os.environ["OPENAI_BASE_URL"]


def call(when: str, stream: bool) -> None:
    body = {
        "model": "amazon.nova-micro-v1:0",
        "messages": [{"role": "user", "content": "Count to 5. [[local: pace=0.2]]"}],
        "stream": stream,
    }
    headers = {"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "content-type": "application/json"}
    request = urllib.request.Request(f"{BASE_URL}/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        text = response.read().decode()
    whole = text.rstrip().endswith("data: [DONE]") if stream else "1 2 3 4 5" in text
    print(f"{when}: {'stream' if stream else 'message'} {'whole' if whole else text}", flush=True)


def stop(*_: object) -> None:
    """End with two calls: the sidecars end after the application."""
    for stream in (False, True):
        call("at the end", stream)
    raise SystemExit(0)


signal.signal(signal.SIGTERM, stop)
call("at the start", stream=False)
while True:
    signal.pause()

"""Server-sent events as OpenAI's SDKs parse them.

Only `data:` lines, each ended by a blank line, and comments: the Python SDK chokes on `id:` and `retry:`, and both
SDKs choke on an event without data, so nothing else is ever sent.
"""

CONTENT_TYPE = "text/event-stream; charset=utf-8"
HEADERS = (("content-type", CONTENT_TYPE), ("cache-control", "no-cache"))
DONE = b"data: [DONE]\n\n"
KEEPALIVE = b": keepalive\n\n"


def event(data: bytes) -> bytes:
    """Encode an event; `data` is one line of JSON."""
    return b"data: " + data + b"\n\n"

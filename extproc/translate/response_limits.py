"""Limits of a chat response of Bedrock's."""

MAX_RESPONSE_BYTES = 8 << 20
"""Bytes of a Converse response, which the event loop translates at 3 to 6 ms a MiB: a model's longest is below one."""
MAX_RESPONSE_BLOCKS = 4_096
"""Content blocks of a Converse response: a block takes the event loop up to 4 µs."""

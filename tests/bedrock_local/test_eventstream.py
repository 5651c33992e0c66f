"""The encoder against botocore's parser."""

import pytest
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_local.eventstream import corrupted, encode

NAMES = st.text(min_size=1, max_size=40)
VALUES = st.text(max_size=200)


def read(data):
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return list(buffer)


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.dictionaries(NAMES, VALUES, max_size=4), st.binary(max_size=300)), max_size=4))
def test_botocore_reads_written_messages(messages):
    data = b"".join(encode(headers.items(), payload) for headers, payload in messages)
    assert [(dict(m.headers), m.payload) for m in read(data)] == messages


@settings(derandomize=True, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=2), st.binary(max_size=50))
def test_botocore_rejects_a_corrupted_message(headers, payload):
    with pytest.raises(ChecksumMismatch):
        read(corrupted(encode(headers.items(), payload)))

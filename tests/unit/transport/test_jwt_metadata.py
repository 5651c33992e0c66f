"""Envoy's metadata of signed tokens, by Envoy's own messages -> a result."""

from typing import Any

import pytest
from envoy_data_plane.envoy.config.core.v3 import Metadata
from envoy_data_plane.google.protobuf import Struct
from hypothesis import given
from hypothesis import strategies as st

from extproc.exchange.events import RequestHeaders
from extproc.tenancy.jwt_tokens import JwtResult
from extproc.transport import ext_proc_pb2 as pb
from extproc.transport.jwt_metadata import jwt_result
from extproc.transport.wire import ExtProcSession

JWT_AUTHN = "envoy.filters.http.jwt_authn"


def encoded(**namespaces: dict[str, Any]) -> bytes:
    structs = {name.replace("jwt_authn", JWT_AUTHN): Struct.from_dict(each) for name, each in namespaces.items()}
    return bytes(Metadata(filter_metadata=structs))


def test_the_claims_that_may_count_are_texts_numbers_and_lists_of_texts() -> None:
    payload = {"iss": "i", "exp": 5, "org": ["a", 1, "b", {"c": 1}], "deep": {"a": 1}, "flag": True, "none": None}
    result = jwt_result(encoded(jwt_authn={"oai-verified": payload}))
    assert result == JwtResult({"iss": "i", "exp": 5.0, "org": ("a", "b")})


def test_a_failure_has_its_status_and_its_message() -> None:
    failure = {"code": 3, "message": "Jwt is expired"}
    assert jwt_result(encoded(jwt_authn={"oai-failed": failure})) == JwtResult(None, 3, "Jwt is expired")
    assert jwt_result(encoded(jwt_authn={"oai-failed": {}})) == JwtResult()


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"\xff",
        encoded(),
        encoded(oai={"oai-verified": {"iss": "i"}}),
        encoded(jwt_authn={"payload": {"iss": "i"}}),
        encoded(jwt_authn={"oai-verified": "text"}),
        encoded(jwt_authn={"oai-verified": None}),
    ],
)
def test_anything_else_is_no_result(metadata: bytes) -> None:
    assert jwt_result(metadata) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_no_verified_token(metadata: bytes) -> None:
    result = jwt_result(metadata)
    assert result is None or result.claims is None


def test_a_session_reads_the_metadata_of_the_request_headers() -> None:
    request = pb.ProcessingRequest(metadata_context=encoded(jwt_authn={"oai-verified": {"iss": "i"}}))
    request.request_headers.headers.headers.add(key=":path", raw_value=b"/")
    assert ExtProcSession().receive(request.SerializeToString()) == RequestHeaders(
        {":path": "/"}, False, JwtResult({"iss": "i"})
    )
    request.ClearField("metadata_context")
    assert ExtProcSession().receive(request.SerializeToString()) == RequestHeaders({":path": "/"}, False)

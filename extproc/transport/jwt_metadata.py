"""The metadata of Envoy's `jwt_authn` filter, which ext_proc forwards -> a `JwtResult`.

Envoy sends a namespace only if the filter's `forwarding_namespaces` names it, and in this one only `jwt_authn` writes:
a caller's headers and body never get there, nor does what a worker sends.

Decision: docs/decisions.md, D210.
"""

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct, Value

from extproc.shared_names import JWT_FAILED, JWT_NAMESPACE, JWT_VERIFIED
from extproc.tenancy.jwt_tokens import Claim, JwtResult
from extproc.transport import ext_proc_pb2 as pb


def jwt_result(metadata: bytes) -> JwtResult | None:
    """Return the result in a `metadata_context`; None where Envoy has verified nothing."""
    context = pb.Metadata()
    try:
        context.ParseFromString(metadata)
    except DecodeError:
        return None
    if JWT_NAMESPACE not in context.filter_metadata:
        return None
    fields = context.filter_metadata[JWT_NAMESPACE].fields
    if JWT_VERIFIED in fields and fields[JWT_VERIFIED].HasField("struct_value"):
        return JwtResult(_claims(fields[JWT_VERIFIED].struct_value))
    if JWT_FAILED not in fields:
        return None
    failure = fields[JWT_FAILED].struct_value.fields
    status = int(failure["code"].number_value) if "code" in failure else 0
    return JwtResult(None, status, failure["message"].string_value if "message" in failure else "")


def _claims(payload: Struct) -> dict[str, Claim]:
    """Return the claims that may count; others are left out, such as those with claims of their own."""
    claims: dict[str, Claim] = {}
    for name, value in payload.fields.items():
        claim = _claim(value)
        if claim is not None:
            claims[name] = claim
    return claims


def _claim(value: Value) -> Claim | None:
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            return value.number_value
        case "list_value":
            items = value.list_value.values
            return tuple([item.string_value for item in items if item.WhichOneof("kind") == "string_value"])
    return None

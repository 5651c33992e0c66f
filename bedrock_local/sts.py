"""AssumeRole of AWS's Security Token Service: temporary keys that sign calls of this Bedrock for an hour.

Every role can be assumed, but one whose name begins with `denied`. One whose name begins with `external-` wants the
rest of its name as the external id, as a trust policy does. The keys of a role are always the same.
"""

import uuid
from datetime import datetime, timedelta
from hashlib import sha256
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from aiohttp import web

from bedrock_local import calls
from bedrock_local.errors import AwsError, forbidden
from bedrock_local.signature import Received, Temporary
from bedrock_local.state import Local

SECONDS = 3600
"""How long temporary keys are valid."""

_XMLNS = "https://sts.amazonaws.com/doc/2011-06-15/"


def assume_role(local: Local, received: Received, call: calls.Call, now: datetime) -> web.Response:
    """Serve AssumeRole; its errors are XML, too."""
    try:
        local.verifier.verify(received, now, "sts")
        keys, arn = _keys(received)
    except AwsError as error:
        call.end(calls.REJECTED, error.name)
        return _xml(
            error.status,
            f"<ErrorResponse xmlns='{_XMLNS}'><Error><Type>Sender</Type><Code>{_code(error)}</Code>"
            f"<Message>{escape(error.message)}</Message></Error></ErrorResponse>",
        )
    local.verifier.admit(keys)
    call.end(calls.FINISHED)
    expiry = (now + timedelta(seconds=SECONDS)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return _xml(
        200,
        f"<AssumeRoleResponse xmlns='{_XMLNS}'><AssumeRoleResult><Credentials><AccessKeyId>{keys.access_key}"
        f"</AccessKeyId><SecretAccessKey>{keys.secret_key}</SecretAccessKey><SessionToken>{keys.session_token}"
        f"</SessionToken><Expiration>{expiry}</Expiration></Credentials><AssumedRoleUser><AssumedRoleId>local</AssumedRoleId>"
        f"<Arn>{escape(arn)}</Arn></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>",
    )


def new_call(received: Received) -> calls.Call:
    """Return the log's entry of a call."""
    call = calls.Call(str(uuid.uuid4()), received.method, received.target, "AssumeRole", None, received.headers)
    call.keep_body(received.body)
    return call


def _keys(received: Received) -> tuple[Temporary, str]:
    """Return the keys of the role that a request names, and its ARN. Raises `AwsError`."""
    form = dict(parse_qsl(received.body.decode("utf-8", "replace")))
    arn, external = form.get("RoleArn", ""), form.get("ExternalId", "")
    name = arn.rpartition("/")[2]
    wanted = name.removeprefix("external-") if name.startswith("external-") else ""
    if form.get("Action") != "AssumeRole" or not arn or name.startswith("denied") or (wanted and external != wanted):
        raise forbidden("AccessDenied", f"User: local is not authorized to perform: sts:AssumeRole on resource: {arn}")
    digest = sha256(arn.encode()).hexdigest()
    return Temporary(f"ASIA{digest[:16].upper()}", digest[16:56], f"token-of-{digest[:24]}"), arn


def _code(error: AwsError) -> str:
    """Return the error's code as STS writes it."""
    return {"UnrecognizedClientException": "InvalidClientTokenId"}.get(error.name, error.name.removesuffix("Exception"))


def _xml(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text, content_type="text/xml")

"""Own signatures against botocore's, over generated requests."""

import datetime
from unittest.mock import patch

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.utils import percent_encode
from hypothesis import assume, given
from hypothesis import strategies as st

from extproc.bedrock.credentials import Credentials
from extproc.bedrock.sigv4 import Headers, Signer, model_path

visible = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
keys = st.text(visible, min_size=1, max_size=40)
header_values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E) | st.just("\t"), max_size=40)
header_names = st.from_regex(r"x-amzn-bedrock-[a-z-]{1,12}|content-type|accept", fullmatch=True)
regions = st.sampled_from(["us-east-1", "eu-central-1", "us-gov-west-1"]) | st.from_regex(
    r"[a-z]{2}-[a-z]{4,9}-[1-9]", fullmatch=True
)
ports = st.none() | st.integers(1, 65_535).filter(lambda port: port not in (80, 443))
model_ids = st.text(min_size=1, max_size=80)
credentials = st.builds(Credentials, keys, keys, st.none() | keys)
times = st.floats(min_value=0, max_value=4_102_444_800)  # until the year 2100


@given(credentials, regions, ports, model_ids, st.binary(max_size=300), st.data(), times)
def test_the_authorization_header_is_the_one_that_botocore_makes(
    identity: Credentials,
    region: str,
    port: int | None,
    model_id: str,
    body: bytes,
    data: st.DataObject,
    now: float,
) -> None:
    headers = tuple(data.draw(st.dictionaries(header_names, header_values, max_size=4)).items())
    authority = f"bedrock-runtime.{region}.amazonaws.com" + (f":{port}" if port else "")
    path = model_path(model_id, "converse-stream")

    ours = Signer(region, authority).sign(identity, path, body, headers, now)

    assert dict(ours) == botocore_signs(identity, region, f"https://{authority}{path}", body, headers, now)


@given(model_ids)
def test_the_path_is_the_one_that_botocore_makes(model_id: str) -> None:
    assume(model_id not in (".", ".."))
    assert model_path(model_id, "invoke") == f"/model/{percent_encode(model_id)}/invoke"


def botocore_signs(
    identity: Credentials, region: str, url: str, body: bytes, headers: Headers, now: float
) -> dict[str, str]:
    """Return the headers that botocore adds to the same request at the same second."""
    request = AWSRequest("POST", url, headers=dict(headers), data=body)
    moment = datetime.datetime.fromtimestamp(int(now), datetime.UTC).replace(tzinfo=None)
    keys = BotocoreCredentials(identity.access_key, identity.secret_key, identity.session_token)
    with patch.object(botocore.auth, "get_current_datetime", lambda: moment):
        botocore.auth.SigV4Auth(keys, "bedrock", region).add_auth(request)
    sent = {name for name, _ in headers}
    return {name.lower(): value for name, value in request.headers.items() if name.lower() not in sent}

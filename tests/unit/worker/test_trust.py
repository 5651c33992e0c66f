"""The authorities that the gateway trusts for its own calls to Bedrock: those of AWS's settings, or none."""

import ssl

import pytest

from extproc.worker.trust import TrustError, bedrock_trust


def test_a_server_must_have_a_certificate_for_its_name():
    context = bedrock_trust({})
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_a_bundle_that_is_not_there_is_named_with_the_remedy(name):
    with pytest.raises(TrustError, match=r"/nowhere\.pem cannot be read .*No such file.*AWS_CA_BUNDLE"):
        bedrock_trust({name: "/nowhere.pem"})

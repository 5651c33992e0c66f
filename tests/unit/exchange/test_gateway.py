"""The capabilities of a model as the settings permit them."""

import pytest

from extproc.bedrock.catalogue import Target
from extproc.config import Organisation, parse
from extproc.exchange.gateway import Gateway

CLAUDE = Target("anthropic.claude-sonnet-4-6", "anthropic.claude-sonnet-4-6")
NOVA = Target("amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0")


@pytest.mark.parametrize(
    ("text", "is_seen"),
    [
        (b"organisations: {acme: {}}", True),
        (b"{organisations: {acme: {}}, media: {pdf: text}}", False),
        (b"{organisations: {acme: {pdf: visual}}, media: {pdf: text}}", True),
        (b"organisations: {acme: {pdf: text}, beta: {}}", False),
        (b"organisations: {beta: {pdf: text}}", True),
    ],
)
def test_how_pdfs_are_read_is_the_organisations_or_everybodys_setting(
    gateway: Gateway, text: bytes, is_seen: bool
) -> None:
    gateway.settings = parse(text)
    acme = gateway.settings.organisations.get("acme", Organisation())
    assert gateway.capabilities_of(CLAUDE, acme).cited_documents == (("pdf",) if is_seen else ())
    assert gateway.capabilities_of(NOVA, acme).cited_documents == ()


@pytest.mark.parametrize("s3", [False, True])
def test_media_in_s3_are_for_whom_the_settings_permit_it(gateway: Gateway, s3: bool) -> None:
    gateway.settings = parse(b"{organisations: {acme: {}}, media: {s3: %s}}" % str(s3).lower().encode())
    acme = gateway.settings.organisations["acme"]
    assert bool(gateway.capabilities_of(NOVA, acme).s3_sources) == s3

"""The gateway as an organisation with a region or a role sees it."""

import dataclasses

import pytest

from extproc.bedrock.catalogue import Catalogue
from extproc.bedrock.credentials import Credentials
from extproc.bedrock.sigv4 import Signer
from extproc.config import Organisation
from extproc.config.roles import RoleSettings
from extproc.exchange.gateway import Gateway, Place
from extproc.exchange.jobs import Assume
from extproc.openai.errors import ApiError

EU = "eu-central-1"
ROLE = RoleSettings(arn="arn:aws:iam::123456789012:role/acme")
PLACE = Place(Catalogue.build((), (), EU), Signer(EU, "eu.example"), "eu.example")
OF_ROLE = Place(PLACE.catalogue, PLACE.signer, PLACE.authority, lambda: Credentials("ASIA", "secret", "token"))
ELSEWHERE = {"catalogue", "signer", "authority", "identity", "region", "assumed"}
"""What differs in another region or with a role."""
WHOLE = {"places", "role"}
"""What only the gateway itself has."""


def seen(gateway: Gateway, own: Organisation) -> Gateway:
    found = gateway.of(own)
    assert isinstance(found, Gateway)
    return found


def test_an_organisation_without_either_sees_the_gateway_itself(gateway: Gateway) -> None:
    gateway.places = {EU: PLACE}
    assert gateway.of(Organisation()) is gateway
    assert gateway.of(Organisation(region="us-east-1")) is gateway


@pytest.mark.parametrize("role", [None, ROLE])
def test_all_else_is_the_gateways(gateway: Gateway, role: RoleSettings | None) -> None:
    gateway.places, gateway.role, gateway.mark_by_header = {EU: PLACE}, lambda region, role: OF_ROLE, True
    there = seen(gateway, Organisation(region=EU, role=role))
    fields = {field.name for field in dataclasses.fields(Gateway)} - ELSEWHERE - WHOLE
    assert len(fields) > 5
    for name in fields:
        assert getattr(there, name) is getattr(gateway, name), f"{name} is lost in another region"
    assert (there.catalogue, there.signer, there.authority) == (PLACE.catalogue, PLACE.signer, PLACE.authority)
    assert (there.region, there.assumed) == (EU, role is not None)
    assert (there.identity is gateway.identity) is (role is None)


def test_a_role_at_home_goes_by_the_usual_route(gateway: Gateway) -> None:
    gateway.role = lambda region, role: OF_ROLE if region == "us-east-1" else None
    assert seen(gateway, Organisation(role=ROLE)).region == ""


def test_a_region_that_is_not_there_is_an_error_before_any_role(gateway: Gateway) -> None:
    gateway.role = lambda region, role: OF_ROLE
    for role in (None, ROLE):
        with pytest.raises(ApiError) as caught:
            gateway.of(Organisation(region=EU, role=role))
        assert (caught.value.status, caught.value.code) == (503, "gateway_region")


def test_a_role_that_was_not_looked_for_is_to_be_assumed_once(gateway: Gateway) -> None:
    gateway.role = lambda region, role: None
    assert gateway.of(Organisation(role=ROLE)) == Assume("us-east-1", ROLE)
    with pytest.raises(ApiError) as caught:
        gateway.of(Organisation(role=ROLE), looked_for=True)
    assert (caught.value.status, caught.value.code) == (502, "gateway_credentials")

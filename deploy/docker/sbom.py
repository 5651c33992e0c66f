#!/usr/bin/env python3
"""Write the software bill of materials of an image, as CycloneDX 1.6 in JSON, to standard output.

    sbom.py --image oai-extproc --environment /opt/oai --root / --source DIGEST [--envoy 1.40.0]

Its components are what is installed, not what was asked for: the Python packages of the environment (their metadata),
the Debian packages of the base image (dpkg's status, and the copyright files), Python itself where it is none of these,
and Envoy, which runs in a container of its own beside the image. Libraries that a wheel contains in its binaries
(BoringSSL in grpcio, for one) are not listed: the wheels do not name them.
"""

import argparse
import hashlib
import json
import platform
import re
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

Component = dict[str, Any]

SPDX = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache-2.0": "Apache-2.0",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "isc": "ISC",
    "mit": "MIT",
    "mit license": "MIT",
    "mpl-2.0": "MPL-2.0",
    "psf-2.0": "PSF-2.0",
}
"""SPDX's identifiers for the names of licences that older metadata has. Other names are passed on as they are."""


def purl(kind: str, name: str, version: str, qualifiers: str = "") -> str:
    """Return a package URL."""
    return f"pkg:{kind}/{quote(name)}@{quote(version, safe='')}{qualifiers}"


def component(kind: str, name: str, version: str, address: str, licences: list[Component]) -> Component:
    """Return a component of CycloneDX, whose package URL is its reference too."""
    made = {"type": kind, "bom-ref": address, "name": name, "version": version, "purl": address}
    return {**made, "licenses": licences} if licences else made


def named(name: str) -> Component:
    """Return a licence by SPDX's identifier, or by the name that the package gives it."""
    known = SPDX.get(name.strip().lower())
    return {"license": {"id": known} if known else {"name": name.strip()}}


def python_licences(package: Distribution) -> list[Component]:
    """Return the licences of a Python package: its expression, its field if that is a name, or its classifiers."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return [{"expression": expression}]
    name = (metadata.get("License") or "").strip().partition("\n")[0].strip()  # some have the whole text
    classifiers = [each for each in metadata.get_all("Classifier") or [] if each.startswith("License :: ")]
    if name and (name.lower() in SPDX or not classifiers):
        return [named(name)]
    return [named(each.rpartition(" :: ")[2]) for each in classifiers]


def python_packages(site: Path) -> tuple[list[Component], dict[str, list[str]]]:
    """Return the packages of a site-packages folder, but the project's own, and which needs which, by reference."""
    packages = {canonicalize_name(each.name): each for each in distributions(path=[str(site)])}
    references = {name: purl("pypi", name, each.version) for name, each in packages.items()}
    components = [
        component("library", name, each.version, references[name], python_licences(each))
        for name, each in sorted(packages.items())
        if name != "oai-extproc"
    ]
    needs = {references[name]: sorted(_needs(each, references)) for name, each in packages.items()}
    return components, needs


def _needs(package: Distribution, references: dict[Any, str]) -> set[str]:
    """Return the references of the installed packages that a package requires, its extras included."""
    requirements = [Requirement(each) for each in package.requires or ()]
    extras = ["", *package.metadata.get_all("Provides-Extra", [])]
    return {
        references[canonicalize_name(each.name)]
        for each in requirements
        if canonicalize_name(each.name) in references
        and canonicalize_name(each.name) != canonicalize_name(package.name)
        and (each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras))
    }


def debian_packages(root: Path, distribution: str) -> Iterator[Component]:
    """Yield the Debian packages that dpkg of the folder `root` has installed."""
    status = (root / "var/lib/dpkg/status").read_bytes()
    for paragraph in status.split(b"\n\n"):
        fields = message_from_bytes(paragraph)
        if fields.get("Status", "").endswith(" installed"):
            name, version = fields["Package"], fields["Version"]
            address = purl("deb/debian", name, version, f"?arch={fields['Architecture']}&distro={distribution}")
            yield component("library", name, version, address, debian_licences(root / "usr/share/doc" / name))


def debian_licences(folder: Path) -> list[Component]:
    """Return the short names in a machine-readable copyright file; else those of the common licences that it cites."""
    path = folder / "copyright"
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    names = re.findall(r"^License:[ \t]*(\S[^\n]*)", text, re.M) if text.startswith("Format:") else ()
    names = names or re.findall(r"/usr/share/common-licenses/([\w.-]*\w)", text)
    return [{"license": {"name": name}} for name in sorted({name.strip() for name in names})]


def interpreter() -> Component:
    """Return Python itself."""
    version = platform.python_version()
    return component("application", "python", version, purl("generic", "python", version), [named("PSF-2.0")])


def bill(image: str, site: Path, root: Path, source: str, envoy: str | None) -> dict[str, Any]:
    """Return the bill of an image. `source` is the digest of its source (source.py)."""
    os_release = platform.freedesktop_os_release()
    libraries, needs = python_packages(site)
    system = list(debian_packages(root, f"{os_release['ID']}-{os_release.get('VERSION_ID', 'unknown')}"))
    if not any(each["name"] == "python3" for each in system):
        system.append(interpreter())
    components = [*libraries, *system]
    if envoy:
        address = purl("docker/envoyproxy", "envoy", f"v{envoy}")
        components.append(component("application", "envoy", envoy, address, [named("Apache-2.0")]))
    [own] = distributions(name="oai-extproc", path=[str(site)])
    main = component("container", image, own.version, purl("docker", image, own.version), [named("Apache-2.0")])
    main["properties"] = [{"name": "oai-extproc:source", "value": source}]
    direct = needs.pop(purl("pypi", "oai-extproc", own.version))
    needed = sorted({*direct, *(each["bom-ref"] for each in components if each not in libraries)})
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{_uuid(main, components)}",
        "version": 1,
        "metadata": {"timestamp": datetime.now(UTC).isoformat(timespec="seconds"), "component": main},
        "components": components,
        "dependencies": [
            {"ref": main["bom-ref"], "dependsOn": needed},
            *({"ref": reference, "dependsOn": needs.get(reference, [])} for reference in _references(components)),
        ],
    }


def _references(components: list[Component]) -> list[str]:
    return [each["bom-ref"] for each in components]


def _uuid(main: Component, components: list[Component]) -> uuid.UUID:
    """Return a UUID of the contents: two builds of the same have the same."""
    contents = json.dumps([main, components], sort_keys=True).encode()
    return uuid.UUID(bytes=hashlib.sha256(contents).digest()[:16], version=4)


def main() -> None:
    """Write the bill that the options describe."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--image", required=True)
    parser.add_argument("--environment", required=True, type=Path)
    parser.add_argument("--root", required=True, type=Path)
    parser.add_argument("--source", required=True)
    parser.add_argument("--envoy")
    options = parser.parse_args()
    [site] = options.environment.glob("lib/python3*/site-packages")
    json.dump(bill(options.image, site, options.root, options.source, options.envoy), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()

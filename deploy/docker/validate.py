#!/usr/bin/env python3
"""Validate a bill of materials (sbom.py) against CycloneDX's own schema."""

import json
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def main(path: str) -> None:
    """Print the number of components; exit with 1 and the place of the error if the file is invalid."""
    text = Path(path).read_text()
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error is not None:
        sys.exit(f"sbom: {path} is no valid CycloneDX 1.6: {error}")
    components = json.loads(text)["components"]
    licensed = sum("licenses" in each for each in components)
    print(f"{path}: {len(components)} components, {licensed} with licences; valid CycloneDX 1.6")


if __name__ == "__main__":
    main(sys.argv[1])

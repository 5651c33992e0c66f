#!/usr/bin/env python3
"""Look up each package of a lock in a database of vulnerabilities, with pip-audit.

pip-audit succeeds if its service knows none of the packages, which looks like a clean report. Here the exit code is 0
only if every package was looked up and none is vulnerable, 1 if one is, and 3 if some could not be looked up.

Decision: docs/decisions.md, D79.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

UNKNOWN = 3
"""Exit code for a lock of which some packages could not be looked up."""


def main(lock: Path, *options: str) -> int:
    """Audit the lock; `options` are pip-audit's, `--vulnerability-service osv` for one."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--disable-pip", "--no-deps"]
    command += ["--format", "json", "--progress-spinner", "off", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - the operator's own
    try:
        report = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["pip-audit printed nothing"])[-1]
        print(f"audit: NOTHING was looked up, the service of vulnerabilities cannot be reached from here: {last[:200]}")
        return UNKNOWN
    text, code = verdict(report)
    print(text)
    return code


def verdict(report: list[dict[str, Any]]) -> tuple[str, int]:
    """Return a summary of pip-audit's report, and the exit code."""
    lines = [
        f"{one['name']} {one['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'no version'}"
        for one in report
        for flaw in one.get("vulns", ())
    ]
    skipped = [one["name"] for one in report if "skip_reason" in one]
    looked_up = len(report) - len(skipped)
    if skipped:
        lines.append(
            f"audit: {len(skipped)} of {len(report)} packages could NOT be looked up: {', '.join(skipped[:5])}…"
        )
    lines.append(f"audit: {looked_up} packages looked up, {len(lines) - bool(skipped)} vulnerabilities")
    flaws = len(lines) - 1 - bool(skipped)
    return "\n".join(lines), 1 if flaws else UNKNOWN if skipped or not report else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))

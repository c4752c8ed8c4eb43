"""Audits the pins of the images for known vulnerabilities.

python -m deploy.release.audit [--allow-unreachable] [options of pip-audit]      (make audit)

pip-audit queries the vulnerability service, by default PyPI's. A vulnerability is an error, and so is a pin that the
service does not know while it knows others. Nothing is checked if it knows none of them, as behind a mirror that serves
only packages, or if it does not answer: that is an error too, but not with --allow-unreachable. Pins that are not
checked are printed.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from deploy.lock import FOLDER

PIP_AUDIT = Path(sys.prefix) / "audit" / "bin" / "pip-audit"
"""It has an environment of its own, because its packages are not bound to the product's versions."""
OPTIONS = ("--disable-pip", "--no-deps", "--progress-spinner", "off", "--format", "json")
REPEATED = "torch-cpu.txt"
"""Repeats pins of torch-cuda.txt, without hashes."""


class Audit(NamedTuple):
    """What an audit found: lines about vulnerabilities and about pins that were not checked, and the number of checked
    pins."""

    vulnerable: list[str]
    unchecked: list[str]
    checked: int

    def errors(self, allow_unreachable: bool) -> list[str]:
        """Return what is wrong. A pin that was not checked is wrong if others were, or unless that is allowed."""
        if self.checked or not allow_unreachable:
            return self.vulnerable + self.unchecked
        return self.vulnerable


def audit(program: Path, files: Sequence[Path], options: Sequence[str] = ()) -> Audit:
    """Audit requirements files with pip-audit."""
    names = [part for file in files for part in ("--requirement", str(file))]
    done = subprocess.run([program, *OPTIONS, *names, *options], capture_output=True, text=True, check=False)
    try:
        return read_report(done.stdout)
    except json.JSONDecodeError:
        last = (done.stderr.strip() or "no output").splitlines()[-1]
        return Audit([], [f"all pins: pip-audit ended with status {done.returncode}: {last}"], 0)


def read_report(report: str) -> Audit:
    """Read pip-audit's JSON."""
    vulnerable, unchecked, checked = [], [], 0
    for one in json.loads(report)["dependencies"]:
        if "skip_reason" in one:
            unchecked.append(f"{one['name']}: {one['skip_reason']}")
            continue
        checked += 1
        for found in one["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "no version"
            vulnerable.append(f"{one['name']} {one['version']}: {found['id']}, fixed in {fixed}")
    return Audit(sorted(set(vulnerable)), sorted(set(unchecked)), checked)


def main(words: list[str]) -> None:
    """Print what was found; exit with status 1 for errors."""
    options = [word for word in words if word != "--allow-unreachable"]
    files = [path for path in sorted(FOLDER.glob("*.txt")) if path.name != REPEATED]
    if not PIP_AUDIT.exists():
        sys.exit(f"{PIP_AUDIT} is missing: `make audit` installs it")
    found = audit(PIP_AUDIT, files, options)
    for line in found.unchecked:
        sys.stdout.write(f"not checked: {line}\n")
    sys.stdout.write(f"{found.checked} pins checked, {len(found.vulnerable)} vulnerabilities\n")
    sys.exit("\n".join(found.errors(len(options) < len(words))) or 0)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Write the generated files under deploy/, or with --check say which disagree with their source.

python deploy/build.py [--check]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from exporter.mixin.rules import HEADER, dump, prometheus_rules, write_rules
from exporter.mixin.terms import Terms

DEPLOY = Path(__file__).parent
SOURCE = "change exporter/mixin/alerts.py or recording.py, not this file, and run python deploy/build.py"


def prometheus_rule() -> dict[str, Any]:
    """Give the Prometheus operator's resource with the same groups."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "inference-exporter",
            "labels": {"app.kubernetes.io/part-of": "inference-exporter"},
        },
        "spec": prometheus_rules(Terms.of(None)),
    }


def write(folder: Path) -> list[Path]:
    """Write every generated file below ``folder``."""
    rule = folder / "kubernetes" / "base" / "prometheusrule.yaml"
    rule.parent.mkdir(parents=True, exist_ok=True)
    rule.write_text(HEADER + dump(prometheus_rule()), encoding="utf-8")
    return [*write_rules(None, folder), rule]


def disagreements(folder: Path = DEPLOY) -> list[str]:
    """Say for each generated file that differs from what its source gives what to change instead."""
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for fresh in write(Path(scratch)):
            path = folder / fresh.relative_to(scratch)
            if not path.is_file() or path.read_text(encoding="utf-8") != fresh.read_text(encoding="utf-8"):
                found.append(f"{path}: differs from its source; {SOURCE}")
    return found


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a file disagrees")
    if parser.parse_args().check:
        found = disagreements()
        print("\n".join(found) or "deploy/ agrees with its source", file=sys.stderr)
        return 1 if found else 0
    write(DEPLOY)
    return 0


if __name__ == "__main__":
    sys.exit(main())

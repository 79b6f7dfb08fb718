"""Writes docs/metrics.md from the contract in exporter/metrics/contract.py.

python docs/build.py [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from exporter.metrics import contract as metrics
from exporter.metrics.contract import Spec

_HEAD = """# Metrics

Made from `exporter/metrics/contract.py` by `python docs/build.py`. Every labelled series that can be known
beforehand exists from the start with 0. No path, identifier or free text is ever a label; `class_name`
is capped at `capture.max_classes`.
"""
_SECTIONS = (
    ("Predictions", metrics.PREDICTIONS),
    ("Drift", metrics.DRIFT),
    ("The ledger: observed = processed + dropped + sampled out + queued", metrics.LEDGER),
    ("The exporter itself", metrics.OPERATION),
    ("A hook that sends to a collector", metrics.FORWARD),
    ("The ingest API", metrics.INGEST),
    ("Sidecar only", metrics.SIDECAR),
    (
        "HTTP: in the hook by prometheus-fastapi-instrumentator, in the sidecar under the same names",
        metrics.HTTP,
    ),
)


def render() -> str:
    """The whole page."""
    parts = [_HEAD]
    for title, specs in _SECTIONS:
        parts.append(
            f"## {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n{_rows(specs)}\n"
        )
    parts.append(_values())
    return "\n".join(parts)


def _rows(specs: tuple[Spec, ...]) -> str:
    return "\n".join(
        f"| `{spec.name}` | {spec.kind} | {', '.join(f'`{label}`' for label in spec.labels)} | {spec.help} |"
        for spec in specs
    )


def _values() -> str:
    reasons = ", ".join(f"`{reason}`" for reason in metrics.DROP_REASONS)
    stages = ", ".join(f"`{stage}`" for stage in metrics.ERROR_STAGES)
    states = ", ".join(f"`{state}`" for state in metrics.DETECTOR_STATES)
    sources = ", ".join(f"`{source}`" for source in metrics.SOURCES)
    return (
        "## Values of labels\n\n| label | values |\n|---|---|\n"
        f"| `source` | {sources} |\n| `reason` of dropped | {reasons} |\n"
        f"| `stage` | {stages} |\n| `state` | {states} |\n"
    )


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if the page disagrees")
    page = Path(__file__).with_name("metrics.md")
    if parser.parse_args().check:
        if page.read_text(encoding="utf-8") == render():
            return 0
        print(f"{page}: differs from exporter/metrics/contract.py; run python docs/build.py", file=sys.stderr)
        return 1
    page.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Writes docs/metrics.md from the contract in exporter/metrics/contract.py: ``python docs/build.py``."""

from __future__ import annotations

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


if __name__ == "__main__":
    Path(__file__).with_name("metrics.md").write_text(render(), encoding="utf-8")

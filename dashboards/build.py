"""Write the dashboards' JSON, or with --check say which files disagree with their source.

python -m dashboards.build [--check]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.containers import containers
from dashboards.drift import drift
from dashboards.overview import by_model, high_level
from dashboards.panels import Board
from dashboards.predictions import predictions
from dashboards.service import service
from exporter.mixin.dashboards import encode

FOLDER = Path(__file__).parent / "grafana"
BOARDS: dict[str, Callable[[], Board]] = {
    "service.json": service,
    "predictions.json": predictions,
    "drift.json": drift,
    "high-level.json": high_level,
    "by-model.json": by_model,
    "containers.json": containers,
}


def build() -> dict[str, str]:
    """Give the text of every dashboard's file, by name."""
    return {
        name: encode(json.loads(JSONEncoder(sort_keys=True).encode(board().build())))
        for name, board in BOARDS.items()
    }


def disagreements(folder: Path = FOLDER) -> list[str]:
    """Say for each file of ``folder`` that is not what the source gives what to change instead."""
    found = []
    expected = build()
    for name, text in expected.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{path}: missing; run python -m dashboards.build")
        elif path.read_text(encoding="utf-8") != text:
            source = Path(BOARDS[name].__code__.co_filename).name
            found.append(
                f"{path}: differs from its source; change dashboards/{source} (panels) or "
                "dashboards/panels.py (their looks), not the JSON, and run python -m dashboards.build"
            )
    found.extend(
        f"{path}: has no source; add it to dashboards/build.py or remove it"
        for path in sorted(folder.glob("*.json"))
        if path.name not in expected
    )
    return found


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a file disagrees")
    if parser.parse_args().check:
        found = disagreements()
        print("\n".join(found) or "dashboards agree with their source", file=sys.stderr)
        return 1 if found else 0
    FOLDER.mkdir(exist_ok=True)
    for name, text in build().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

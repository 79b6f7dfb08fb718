"""Play the stage and draw the dashboards from it: ``python -m tools.pictures docs/images``."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.e2e.stage import SCRAPE_SECONDS, Stage, performed
from tools.pictures.queries import Period
from tools.pictures.render import render

CHOICES = {
    "service.json": {"job": "slow"},
    "by-model.json": {"model": "digits"},
}


def period_of(stage: Stage) -> Period:
    end = time.time()
    return Period(stage.started, end, max(1.0, (end - stage.started) / 120), 5 * SCRAPE_SECONDS)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, performed(Path(folder)) as stage:
        stage.wait_for_history()
        empty = render(Path(sys.argv[1]), period_of(stage), stage.stack.query_range, CHOICES)
        for name, titles in empty.items():
            print(name, titles)


if __name__ == "__main__":
    main()

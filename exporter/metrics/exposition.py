"""Rendering a registry for a scrape: the text formats, and all processes' values where there are several."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

_RETRIES = 20
_RETRY_SECONDS = 0.01


def multiprocess_folder() -> Path | None:
    """The folder that the processes of a pre-fork server share, if one is set."""
    value = os.environ.get(MULTIPROCESS_VARIABLE)
    return Path(value) if value else None


def render(registry: CollectorRegistry, accept: str = "") -> tuple[str, bytes]:
    """Content type and body of a scrape's answer.

    Where ``PROMETHEUS_MULTIPROC_DIR`` is set, the values of all processes that share the folder are
    put together, and those that belong to processes which have died are left out of live gauges.

    Parameters
    ----------
    accept
        The scrape's ``Accept`` header, which chooses between the Prometheus and OpenMetrics formats.
    """
    encode, content_type = choose_encoder(accept)
    folder = multiprocess_folder()
    if folder is None:
        return content_type, encode(registry)
    for pid in _pids(folder) - {os.getpid()}:
        if not _alive(pid):
            mark_process_dead(pid, str(folder))
    merged = CollectorRegistry()
    merged.register(_Merged(MultiProcessCollector(None, path=str(folder))))
    for _ in range(_RETRIES):
        try:
            return content_type, encode(merged)
        except (OSError, ValueError, struct.error):
            # Another process has made a file and not yet written to it, or taken one away.
            time.sleep(_RETRY_SECONDS)
    return content_type, encode(merged)


class _Merged(Collector):
    """The values of all processes, with what one process shows of them and no more."""

    def __init__(self, merged: MultiProcessCollector) -> None:
        self._merged = merged

    def collect(self) -> Iterable[Metric]:
        """The metrics; a histogram with negative bounds has no sum, since it could go down."""
        for metric in self._merged.collect():
            if metric.type == "histogram" and any(
                sample.labels.get("le", "").startswith("-") for sample in metric.samples
            ):
                metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_sum")]
            yield metric


def _pids(folder: Path) -> set[int]:
    """Processes that left live gauges, whose files are named after mode and process."""
    names = (path.stem.rpartition("_")[2] for path in folder.glob("gauge_live*.db"))
    return {int(name) for name in names if name.isdigit()}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

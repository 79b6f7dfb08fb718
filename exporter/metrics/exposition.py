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

_VERSIONS = frozenset({"1.0.0"})

_RETRIES = 20
_RETRY_SECONDS = 0.01


def multiprocess_folder() -> Path | None:
    """The folder that the processes of a pre-fork server share, if one is set.

    For composition roots: they ask once, and hand on what they were told.
    """
    value = os.environ.get(MULTIPROCESS_VARIABLE)
    return Path(value) if value else None


def render(
    registry: CollectorRegistry, accept: str = "", shared_folder: Path | None = None
) -> tuple[str, bytes]:
    """Content type and body of the response to a scrape, in the format that its ``Accept`` header chooses.

    With a ``shared_folder``, the values of all processes that share it are put together, and those of
    processes which have died are left out of live gauges.
    """
    encode, content_type = choose_encoder(_offered(accept))
    if shared_folder is None:
        return content_type, encode(registry)
    for pid in _pids(shared_folder) - {os.getpid()}:
        if not _alive(pid):
            mark_process_dead(pid, str(shared_folder))
    merged = CollectorRegistry()
    merged.register(_Merged(MultiProcessCollector(None, path=str(shared_folder))))
    for _ in range(_RETRIES):
        try:
            return content_type, encode(merged)
        except (OSError, ValueError, struct.error):
            # Another process has made a file and not yet written to it, or taken one away.
            time.sleep(_RETRY_SECONDS)
    return content_type, encode(merged)


def _offered(accept: str) -> str:
    """Those media types of an ``Accept`` header whose version is one that is written here.

    prometheus-client takes any version for one: it names it in the content type of a body of version
    1.0.0, and raises at what is not a number.
    """
    offered = []
    for media_type in accept.split(","):
        parameters = [parameter.strip().partition("=") for parameter in media_type.split(";")[1:]]
        versions = [value for name, _, value in parameters if name == "version"]
        if all(version in _VERSIONS for version in versions):
            offered.append(media_type)
    return ",".join(offered)


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
        pass  # another user's
    return True

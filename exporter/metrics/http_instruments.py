"""The contract's HTTP metrics as live instruments, for the hook."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry

from exporter.metrics.contract import HTTP, Spec
from exporter.metrics.making import family, make_instrument
from exporter.metrics.private import standing

_making = threading.Lock()
_ours: weakref.WeakSet[Any] = weakref.WeakSet()
_Count = Callable[[float], None]


def stand_on(registry: CollectorRegistry) -> bool:
    """Whether a registry has HTTP metrics that were made here, so that nobody else can make them."""
    return any(_standing(spec, registry) & set(_ours) for spec in HTTP)


class HttpInstruments:
    """Those of the HTTP metrics that nobody else has put on ``registry``; several exporters share them.

    ``names`` are counted here, ``others`` by somebody else.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._by_name: dict[str, Any] = {}
        self.others: list[str] = []
        with _making:
            for spec in HTTP:
                there = _standing(spec, registry)
                if not there:
                    made = make_instrument(spec)
                    registry.register(made)
                    _ours.add(made)
                elif there <= set(_ours):
                    (made,) = there
                else:
                    self.others.append(spec.name)
                    continue
                self._by_name[spec.name] = made
        self.names = list(self._by_name)
        # As many as there are series.
        self._series: dict[tuple[str, str, str], list[_Count | None]] = {}

    def count(
        self,
        handler: str,
        method: str,
        status: str,
        *,
        seconds: float,
        request_bytes: int,
        response_bytes: int,
    ) -> None:
        """Count one request, whose bodies had these lengths; ``status`` is its class, such as ``2xx``."""
        key = handler, method, status
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = self._find(handler=handler, method=method, status=status)
        for add, amount in zip(series, (1, seconds, seconds, request_bytes, response_bytes), strict=True):
            if add is not None:
                add(amount)

    def _find(self, **labels: str) -> list[_Count | None]:
        """What adds to each metric of :data:`~exporter.metrics.contract.HTTP`, in its order."""
        found: list[_Count | None] = []
        for spec in HTTP:
            made = self._by_name.get(spec.name)
            if made is not None and spec.labels:
                made = made.labels(*(labels[name] for name in spec.labels))
            found.append(made and (made.inc if spec.type == "counter" else made.observe))
        return found


def _standing(spec: Spec, registry: CollectorRegistry) -> set[Any]:
    return set(standing(registry, [family(spec)]).values())

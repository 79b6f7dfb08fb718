"""Applications for tests of the hook, called in process, and what their scrapes say."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from exporter import InferenceExporter

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples_of(text: str) -> Samples:
    """Every sample of a page; a name with labels that comes twice is an error."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, key
            found[key] = sample.value
    return found


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


class Caller:
    """Calls an application in process, without its lifespan."""

    def __init__(self, app: Any, *exporters: InferenceExporter, root_path: str = "") -> None:
        self.exporters = exporters
        transport = httpx.ASGITransport(app=app, root_path=root_path)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://test")

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self._client.get(path, **options)

    async def predict(self, n: int, path: str = "/predict") -> None:
        for _ in range(n):
            response = await self._client.post(path, json={})
            assert response.status_code == 200

    async def scrape(self, path: str = "/metrics", **options: Any) -> Samples:
        for exporter in self.exporters:
            await asyncio.to_thread(exporter.runtime.monitor.worker.drain, 10)
        response = await self._client.get(path, **options)
        assert response.status_code == 200, response.text
        return samples_of(response.text)

"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY, CollectorRegistry

import exporter.hook


@pytest.fixture(autouse=True)
def _in_one_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks work in a thread of the test's own process, where it can look at them."""
    if "isolated" not in request.fixturenames:
        monkeypatch.setattr(exporter.hook, "can_spawn", lambda: False)


@pytest.fixture(autouse=True)
def _on_a_registry_of_its_own(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default registry is the process's; each test has one, that no other test has left anything on."""
    if "default_registry" not in request.fixturenames:
        monkeypatch.setattr(exporter.hook, "REGISTRY", CollectorRegistry())


# What prometheus_client itself has put there.
_FROM_THE_START = set(REGISTRY._collector_to_names)


@pytest.fixture
def default_registry() -> Iterator[CollectorRegistry]:
    """The default registry itself, without what other tests have put there, and the test puts there."""
    _take_off()
    yield REGISTRY
    _take_off()


def _take_off() -> None:
    for collector in set(REGISTRY._collector_to_names) - _FROM_THE_START:
        REGISTRY.unregister(collector)


@pytest.fixture
def isolated() -> None:
    """Hooks work in a helper process, as they do in a service."""

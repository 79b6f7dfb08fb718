"""What all tests share."""

from __future__ import annotations

import pytest

import exporter.hook


@pytest.fixture(autouse=True)
def _in_one_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks work in a thread of the test's own process, where it can look at them."""
    if "isolated" not in request.fixturenames:
        monkeypatch.setattr(exporter.hook, "can_spawn", lambda: False)


@pytest.fixture
def isolated() -> None:
    """Hooks work in a helper process, as they do in a service."""

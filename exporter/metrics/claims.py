"""Which of several exporters on one registry has which model's series to itself."""

from __future__ import annotations

import threading
from typing import Protocol

from exporter.errors import ConfigError
from exporter.model import ModelId


class Owner(Protocol):
    """Who has a model's series to itself; ``place`` is where it was made, if that is known."""

    place: object

    def yields(self, other: Owner) -> bool:
        """Whether it gives them up to somebody else who wants them."""


class Claims:
    """The models of a registry, and their owners."""

    def __init__(self) -> None:
        self._owners: dict[ModelId, Owner] = {}
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._owners)

    def claim(self, model: ModelId, owner: Owner) -> None:
        """Have a model's series to oneself, until they are released or yielded.

        Raises
        ------
        ConfigError
            If another owner has them, and does not yield: the sums would be of two.
        """
        if not self.are_free(model, owner):
            raise ConfigError(
                f"model: {str(model)!r} is watched by another exporter on the same registry; give one of "
                "the two another model or version, stop() the other, or pass registry=CollectorRegistry()"
            )
        with self._lock:
            self._owners[model] = owner

    def are_free(self, model: ModelId, owner: Owner) -> bool:
        """Whether ``owner`` has a model's series to itself, or could have them."""
        other = self._owners.get(model, owner)
        return other is owner or other.yields(owner)

    def release(self, owner: Owner, *models: ModelId) -> None:
        """Let others have the models that ``owner`` claimed, or these of them."""
        with self._lock:
            self._owners = {
                model: each
                for model, each in self._owners.items()
                if each is not owner or (models and model not in models)
            }

    def after_fork(self) -> None:
        """In a child process: a lock that a thread of the parent held is nobody's to release."""
        self._lock = threading.Lock()

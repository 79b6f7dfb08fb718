"""One owner of a model's series at a time."""

from __future__ import annotations

import pytest

from exporter.errors import ConfigError
from exporter.metrics.claims import Claims
from exporter.model import ModelId


class Holder:
    place = None
    done = False

    def yields(self, other: object) -> bool:
        return self.done


def test_a_model_belongs_to_one_owner_at_a_time():
    claims = Claims()
    one, other = Holder(), Holder()
    claims.claim(ModelId("m"), one)
    claims.claim(ModelId("m"), one)
    claims.claim(ModelId("m", "2"), other)
    with pytest.raises(ConfigError, match="model: 'm 2' is watched by another exporter on the same registry"):
        claims.claim(ModelId("m", "2"), one)
    claims.release(other)
    claims.claim(ModelId("m", "2"), one)
    one.done = True
    claims.claim(ModelId("m", "2"), other)
    one.done = False
    with pytest.raises(ConfigError):
        claims.claim(ModelId("m"), other)

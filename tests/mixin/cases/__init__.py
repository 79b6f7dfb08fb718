"""For every alert: it fires, does not fire, resolves, survives a counter reset, and is quiet when idle."""

from tests.mixin.cases.detectors import detectors
from tests.mixin.cases.drift import drifts, rare
from tests.mixin.cases.exporter import exporter, refusals
from tests.mixin.cases.predictions import predictions
from tests.mixin.cases.service import service

SITUATIONS = {"fires and resolves", "does not fire", "survives a counter reset", "idle"}
CASES = (*service(), *predictions(), *drifts(), *detectors(), *exporter(), *rare(), *refusals())

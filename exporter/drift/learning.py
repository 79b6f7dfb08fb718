"""A reference in the making: rows go in, and what is complete is calibrated in the background."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

from exporter.config import DetectorConfig, LearnConfig, MMDConfig, StretchesConfig
from exporter.drift.calibrator import Calibrator
from exporter.drift.refusals import Refusals
from exporter.errors import InvalidReference
from exporter.model import ModelId
from exporter.observation import Observation
from exporter.references.learner import ReferenceLearner

log = logging.getLogger(__name__)

# A stream that cannot be learned from is said to be so with every reference that it fills.
_SAY_AGAIN_SECONDS = 3600.0


class Learning:
    """What an entry of ``drift`` learns from one model's stream.

    Parameters
    ----------
    refuse
        Called for each embedding that cannot be learned from.
    reject
        Called with the error if what was learned cannot serve; it is to call :meth:`restart`.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self,
        model: ModelId,
        config: DetectorConfig,
        plan: LearnConfig,
        windows: Sequence[int],
        calibrator: Calibrator,
        *,
        refuse: Refusals,
        reject: Callable[[Exception], None],
        clock: Callable[[], float],
    ) -> None:
        self._plan = plan.learn
        self._windows = windows
        self.learner = ReferenceLearner(self._plan, window=windows)
        self._model = model
        self._config = config
        self._calibrator = calibrator
        self._refuse = refuse
        self._reject = reject
        self._clock = clock
        self._announced = False
        self._said_at = -math.inf

    def take(self, observations: Sequence[Observation], *, tested: bool, drifting: bool) -> None:
        """Learn from observations, in order; of those that are ``tested`` too, the test refuses some.

        ``drifting`` says whether an episode of drift from the provisional reference lasts.
        """
        if not self._announced:
            self._announced = True
            # As a warning: applications seldom show what is less, and nobody may have asked for this.
            log.warning("%s", self._in_words())
        learner = self.learner
        for observation in observations:
            row = observation.embedding
            names = observation.feature_names or ()
            reason = learner.add(row, observation.timestamp, drifting=drifting, names=names)
            if reason is not None and not tested:
                self._refuse(reason, row.size, f"what it learns from has {learner.length}")
            if learner.due is not None and self._calibrator.idle:
                self._calibrate()

    def restart(self, error: Exception, *, provisional: bool) -> None:
        """What was learned cannot serve: it is forgotten, which is said once an hour."""
        self.learner.restart(provisional=provisional)
        now = self._clock()
        if not 0 <= now - self._said_at < _SAY_AGAIN_SECONDS:
            self._said_at = now
            log.error(
                "detector %s of model %s: %s; it learns anew, from what comes now (said once an hour)",
                *(self._config.label, str(self._model), error),
            )

    def after_fork(self) -> None:
        """In a child process, where what a thread was changing is in pieces."""
        self.learner = ReferenceLearner(self._plan, window=self._windows)

    def _calibrate(self) -> None:
        try:
            reference = self.learner.reference()
        except InvalidReference as error:
            self._reject(error)
            return
        for note in reference.notes:
            log.warning("detector %s of model %s: %s", self._config.label, str(self._model), note)
        self._calibrator.reference = reference
        self._calibrator.start()

    def _in_words(self) -> str:
        plan, config = self._plan, self._config
        if isinstance(plan, StretchesConfig):
            spread = f"{plan.rows:,} in {plan.stretches} stretches over {in_time(plan.over)}"
            first = (
                f"the first {plan.provisional:,} embeddings for now, and from " if plan.provisional else ""
            )
            source = f"{first}{spread} for good"
        else:
            source = f"the first {plan:,} embeddings"
        soonest = ""
        if config.sample is not None:
            first_rows = plan if isinstance(plan, int) else plan.provisional or plan.rows
            seconds = math.ceil(first_rows / config.sample.max_per_second)
            rate = f"{config.sample.max_per_second:g} a second"
            soonest = f"; at {rate} it tests after {in_time(seconds)} at the soonest"
        often = "as calibrated"
        if isinstance(config, MMDConfig):
            interval = config.false_alarm_interval
            often = in_time(interval) if interval is not None else f"{config.run_length:,.0f} tests"
        return (
            f"drift detection on: detector {config.label} of model {self._model} learns a reference from "
            f"{source}{soonest}; without drift one false alarm in {often} on average; "
            "drift: [] switches it off"
        )


def warn_of_episode(model: ModelId, labels: Sequence[str], drifting_ratio: float) -> None:
    """An episode of drift from the provisional reference must not end unheard where the lasting one comes."""
    log.warning(
        "detector %s of model %s: an episode of drift from the provisional reference ends, since the lasting "
        "one takes its place; %.0f %% of that came during such episodes, and is normal from now on. If "
        "it was a drift, learn anew (inference-exporter state forget), or give a file",
        *(", ".join(labels), str(model), 100 * drifting_ratio),
    )


def in_time(seconds: float) -> str:
    """A duration as it stands in a configuration, in the largest unit that it has a whole number of."""
    units = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60}
    unit = next((name for name, size in units.items() if seconds >= size and seconds % size == 0), "s")
    return f"{seconds / units.get(unit, 1):g}{unit}"

"""What a processor is: it takes a batch of observations, and says what became of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence

from exporter.config import Config
from exporter.observation import Observation


class Outcomes:
    """What becomes of each observation of a batch: it is processed, unless a processor says otherwise.

    An observation comes to one end, whatever is said of it and by how many: dropped, if any of the
    processors dropped it; else sampled out, if any says so; else processed.
    """

    def __init__(self) -> None:
        self._dropped: dict[int, str] = {}
        self._sampled_out: set[int] = set()

    def sampled_out(self, position: int) -> None:
        """The observation at ``position`` was left out of every test that there is."""
        self._sampled_out.add(position)

    def dropped(self, position: int, reason: str) -> None:
        """The observation at ``position`` was given up."""
        self._dropped.setdefault(position, reason)

    def count(self, n: int) -> Counter[str]:
        """How many of the batch's ``n`` observations came to each end."""
        ends = Counter(self._dropped.values())
        ends["sampled_out"] = len(self._sampled_out - self._dropped.keys())
        ends["processed"] = n - ends.total()
        return ends


class Processor(ABC):
    """One of a pipeline's processors. All but :meth:`process` does nothing, where there is nothing to do."""

    @abstractmethod
    def process(self, observations: Sequence[Observation], outcomes: Outcomes) -> None:
        """Take a batch of up to a few thousand observations, in order. Called on one thread at a time.

        What it raises is logged and counted, and keeps the observations from no other processor.
        """

    def start(self) -> None:  # noqa: B027 - most have nothing to start
        """Begin in this process, or go on after a stop; does nothing if it has begun."""

    def stop(self) -> None:  # noqa: B027
        """End; nothing comes any more, unless it is started again."""

    def after_fork(self) -> None:  # noqa: B027
        """In a child process: threads did not come along, and what is under way is the parent's."""

    def reconfigured(self, config: Config) -> Callable[[], None]:  # noqa: ARG002
        """Prepare for another configuration; what is returned takes it over, and cannot fail.

        Raises
        ------
        ConfigError, InvalidReference, DetectorFileError
            If something that it names cannot serve.
        """
        return lambda: None

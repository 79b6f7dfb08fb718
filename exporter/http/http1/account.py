"""One account for all that the followers of one thread hold in memory."""

from __future__ import annotations

from typing import Protocol

from exporter.http.http1.states import NotFollowedError


class Held(Protocol):
    """Something that several may hold, and that costs once."""

    cost: int
    holders: int
    text: bytes


class Account:
    """Bytes in memory, of all connections together: parsed heads at what they take once parsed, copies of
    bodies, and the incomplete starts of heads and lines.

    A body that finds no room is not copied. Anything else that finds none ends the following of its
    connection: bodies leave a quarter of the room to it, so that long uploads push nobody out.

    Parameters
    ----------
    max_bytes
        The bound on all.
    max_body_bytes
        The bound on one body.

    Attributes
    ----------
    n_bytes
        What is held now.
    """

    __slots__ = ("_max_for_bodies", "_max_for_habits", "max_body_bytes", "max_bytes", "n_bytes")

    def __init__(self, max_bytes: int, max_body_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.max_body_bytes = max_body_bytes
        self.n_bytes = 0
        self._max_for_bodies = max_bytes - max_bytes // 4
        self._max_for_habits = max_bytes // 4

    def has_room_for_body(self, n_bytes: int) -> bool:
        """Whether a body of ``n_bytes`` may be copied."""
        return n_bytes <= self.max_body_bytes and self.n_bytes + n_bytes <= self._max_for_bodies

    def take(self, n_bytes: int) -> None:
        """Hold so many bytes more, or fewer.

        Raises
        ------
        NotFollowedError
            "overrun", if they are more than there is room for; nothing is taken then.
        """
        if n_bytes > 0 and self.n_bytes + n_bytes > self.max_bytes:
            raise NotFollowedError("overrun")
        self.n_bytes += n_bytes

    def has_room_for_habit(self, n_bytes: int) -> bool:
        """Whether what only saves time may take ``n_bytes``: it has a quarter of the room."""
        return self.n_bytes + n_bytes <= self._max_for_habits

    def hold(self, thing: Held) -> None:
        """Hold something that others may hold too."""
        if not thing.holders:
            self.n_bytes += thing.cost
        thing.holders += 1

    def release(self, thing: Held) -> None:
        """Hold it no longer."""
        thing.holders -= 1
        if not thing.holders:
            self.n_bytes -= thing.cost

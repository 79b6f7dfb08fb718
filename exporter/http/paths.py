"""Which paths are captured: exact, ``/prefix/*``, or ``regex:PATTERN``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

_MAX_REMEMBERED = 1024
_MAX_REMEMBERED_LENGTH = 1024

PathMatcher = Callable[[str], str | None]
"""From a path to the pattern that captures it, or None. Patterns are few, paths are not: the pattern
is what may become a label."""


def path_matcher(patterns: Iterable[str]) -> PathMatcher:
    """A fast test of a path against ``capture.paths``.

    Exact paths cost one look-up; other paths are remembered, within bounds, since services have few.
    """
    exact: dict[str, str] = {}
    prefixes: list[tuple[str, str]] = []
    expressions: list[tuple[re.Pattern[str], str]] = []
    for pattern in patterns:
        if pattern.startswith("regex:"):
            expressions.append((re.compile(pattern.removeprefix("regex:")), pattern))
        elif pattern.endswith("/*"):
            prefixes.append((pattern[:-1], pattern))
        else:
            exact[pattern] = pattern
    if not prefixes and not expressions:
        return exact.get

    def find(path: str) -> str | None:
        if path in exact:
            return path
        for prefix, pattern in prefixes:
            if path.startswith(prefix):
                return pattern
        return next((pattern for expression, pattern in expressions if expression.fullmatch(path)), None)

    remembered = lru_cache(_MAX_REMEMBERED)(find)
    return lambda path: remembered(path) if len(path) <= _MAX_REMEMBERED_LENGTH else find(path)

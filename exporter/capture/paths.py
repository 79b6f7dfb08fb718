"""Which paths are captured: exact, ``/prefix/*``, or ``regex:PATTERN``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_MAX_REMEMBERED = 1024


def path_matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """A fast test of a path against ``capture.paths``.

    Exact paths cost one look-up; other paths are remembered, up to a bound, since services have few.
    """
    exact = set()
    prefixes = []
    expressions = []
    for pattern in patterns:
        if pattern.startswith("regex:"):
            expressions.append(re.compile(pattern.removeprefix("regex:")))
        elif pattern.endswith("/*"):
            prefixes.append(pattern[:-1])
        else:
            exact.add(pattern)
    if not prefixes and not expressions:
        return exact.__contains__
    starts = tuple(prefixes)
    seen: dict[str, bool] = {}

    def matches(path: str) -> bool:
        known = seen.get(path)
        if known is None:
            known = (
                path in exact
                or path.startswith(starts)
                or any(expression.fullmatch(path) for expression in expressions)
            )
            if len(seen) < _MAX_REMEMBERED:
                seen[path] = known
        return known

    return matches

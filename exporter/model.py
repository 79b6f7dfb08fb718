"""Which model: the values of the labels ``model`` and ``version``, and what can be one."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_NAME_CHARACTERS = 128
# Control characters, spaces of all sorts but the plain one, and what turns the direction of writing.
_NOT_IN_A_NAME = (
    r"\x00-\x1f\x7f-\xa0\xad\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff\ufff0-\uffff"
)
NAME_PATTERN = f"^[^ {_NOT_IN_A_NAME}]([^{_NOT_IN_A_NAME}]*[^ {_NOT_IN_A_NAME}])?$"
"""What a name is made of, in the language of JSON Schema."""
_NAME = re.compile(NAME_PATTERN)
_HALF = re.compile("[\ud800-\udfff]")
UNNAMED = "model"
"""What a model is called that nothing names."""
OTHER = "other"
"""Of models and versions beyond the number that is kept apart, and of those whose name is none."""


class ModelId(NamedTuple):
    """Which model: the values of the labels ``model`` and ``version``, in this order; no version is empty."""

    name: str
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version}" if self.version else self.name


def can_be_label(text: object) -> bool:
    """Whether what somebody else calls a model or a version can be a label.

    It is a line of 1 to 128 printable characters without spaces around it: no half of a character pair, which
    would fail the scrape.
    """
    if not isinstance(text, str) or not 0 < len(text) <= MAX_NAME_CHARACTERS:
        return False
    return _NAME.fullmatch(text) is not None and _HALF.search(text) is None

"""Which paths are captured, and what remembering them costs."""

from __future__ import annotations

import sys
import tracemalloc

from exporter.http.paths import path_matcher


def test_exact_paths_prefixes_and_expressions() -> None:
    match = path_matcher(["/predict", "/v1/*", "regex:/v2/models/[a-z]+/infer"])
    for _ in range(2):
        assert match("/predict") == "/predict"
        assert match("/v1/a") == "/v1/*"
        assert match("/v2/models/a/infer") == "regex:/v2/models/[a-z]+/infer"
        assert match("/v2/models/1/infer") is None
        assert match("/v1") is None


def test_long_paths_of_strangers_are_not_remembered() -> None:
    match = path_matcher(["/v1/*"])
    tracemalloc.start()
    try:
        for i in range(3000):
            assert match(f"/{i}" + "y" * 60_000) is None
            assert match(f"/{i}") is None
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1_000_000


def test_what_is_in_use_is_remembered_however_many_others_came() -> None:
    tried: list[str] = []

    class Spy(str):
        __slots__ = ()

        def startswith(self, *_: object) -> bool:
            tried.append(self)
            return False

    match = path_matcher(["/v1/*"])
    for i in range(3000):
        match(sys.intern(f"/{i}"))
    for _ in range(10):
        match(Spy("/used"))
    assert tried == ["/used"]

"""Every kind of break is made, one at a time; a test that looks away lets one survive."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.mutants import Mutant, main, mutants, survives

SOURCE = '''"""A module."""

import logging

log = logging.getLogger(__name__)


def count(items: list[int] = [], limit: int = 3) -> int:
    """Count."""
    n = 0
    full = not limit
    for item in items:
        if item > limit and item != 7:
            n += 1
            log.info("one more %d", n)
    return n
'''
MODULE = Path("counted.py")
NOTICES = "from counted import count\n\n\ndef test_it():\n    assert count([1, 4, 3, 5, 7]) == 2\n"
LOOKS_AWAY = "from counted import count\n\n\ndef test_it():\n    assert count([1]) is not None\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / MODULE).write_text(SOURCE)
    return tmp_path


def changes(folder: Path) -> dict[str, Mutant]:
    return {mutant.change: mutant for mutant in mutants(MODULE, folder)}


def test_each_break_is_made_once_and_alone(folder: Path) -> None:
    made = changes(folder)
    assert set(made) == {
        "3  ->  4",
        "0  ->  1",
        "item > limit and item != 7  ->  item > limit or item != 7",
        "item > limit  ->  item >= limit",
        "not limit  ->  limit",
        "item != 7  ->  item == 7",
        "7  ->  8",
        "n += 1  ->  n -= 1",
        "n += 1  ->  pass",
        "1  ->  2",
        "return n  ->  return None",
    }
    assert len({mutant.source for mutant in made.values()}) == len(made)
    assert all("log.info" in mutant.source for mutant in made.values())


def test_a_test_that_looks_away_lets_one_survive(folder: Path) -> None:
    mutant = changes(folder)["item > limit  ->  item >= limit"]
    for test, survived in ((NOTICES, False), (LOOKS_AWAY, True)):
        (folder / "test_counted.py").write_text(test)
        assert survives(mutant, folder, ["test_counted.py"], 60.0) is survived
    assert (folder / MODULE).read_text() == SOURCE


def test_a_mutant_that_never_ends_is_noticed(folder: Path) -> None:
    (folder / "test_counted.py").write_text("import time\n\n\ndef test_it():\n    time.sleep(60)\n")
    assert not survives(next(mutants(MODULE, folder)), folder, ["test_counted.py"], 0.2)


def test_an_unknown_target_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["ledgre"])
    assert "no target ledgre; choose from ledger, http1, detectors" in capsys.readouterr().err

"""``inference-exporter state``: shows what a folder holds, and removes what no process uses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from exporter.cli.main import app
from exporter.config import LearnConfig, MMDConfig, StretchesConfig
from exporter.model import ModelId
from tests.drift.test_state import Worker
from tests.streams import normal

PLAN = StretchesConfig(rows=200, over=1000.0, stretch=20, provisional=40)
CONFIG = MMDConfig(window=5, reference=LearnConfig(learn=PLAN), seed=1, expected_run_length=50)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["state", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Worker(tmp_path, CONFIG, model=ModelId("digits", "2")).send(normal(60)).watch.close()
    Worker(tmp_path, CONFIG, model=ModelId("faces")).send(normal(20)).watch.close()
    return tmp_path


def test_what_a_folder_holds_is_shown(folder: Path):
    (folder / "damaged.0.npz").write_bytes(b"hello")
    damaged, digits, faces = run("show", folder).splitlines()
    assert "damaged.0.npz: cannot be read (not a detector file, or damaged (it is no .npz archive)" in damaged
    assert (
        "model digits 2, detector mmd, worker 0: a reference of 40 rows, provisional, complete at " in digits
    )
    assert "1970-01-01 00:00:40+00:00; learning, 20 rows by now; saved at 1970-01-01 00:01:00+00:00" in digits
    assert "model faces, detector mmd, worker 0: no reference yet; learning, 20 rows by now" in faces
    assert "digits" not in run("show", folder, "--model", "faces")


def test_programs_get_json(folder: Path):
    shown = json.loads(run("show", folder, "--json"))
    assert [(entry["model"], entry["version"], entry["reference_rows"]) for entry in shown] == [
        ("digits", "2", 40),
        ("faces", "", 0),
    ]


def test_one_model_is_forgotten_and_learned_anew(folder: Path):
    assert run("forget", folder, "--model", "digits").count(": removed\n") == 1
    assert "digits" not in run("show", folder)
    assert Worker(folder, CONFIG, model=ModelId("digits", "2")).watch.detector is None
    assert Worker(folder, CONFIG, model=ModelId("faces")).shown("learning_ratio") == 0.1


def test_all_is_forgotten(folder: Path):
    assert run("forget", folder).count(": removed\n") == 2
    assert run("show", folder) == f"{folder} holds nothing\n"
    assert run("forget", folder) == f"{folder} holds nothing\n"


def test_nothing_is_removed_that_a_process_would_write_again(folder: Path):
    running = Worker(folder, CONFIG, model=ModelId("faces"))
    assert run("show", folder, "--model", "faces").rstrip().endswith("in use by a running process")
    with pytest.raises(Exception, match="1 of its files are in use by a running process; stop that first"):
        run("forget", folder)
    assert len(run("show", folder).splitlines()) == 2
    running.watch.close()
    assert run("forget", folder).count(": removed\n") == 2


def test_a_folder_that_is_not_there(tmp_path: Path):
    with pytest.raises(Exception, match="there is no such folder; give the one that the key state names"):
        run("show", tmp_path / "none")
    (tmp_path / "config.yaml").touch()
    with pytest.raises(Exception, match=r"config\.yaml: is a file, and no folder; give the one"):
        run("show", tmp_path / "config.yaml")

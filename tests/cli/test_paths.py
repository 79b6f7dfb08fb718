"""Whatever is wrong with a path that the user gave is one line and exit code 2, in every command."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.main import get_command

from exporter.cli.main import app

# {ref}, {npy}, {clean}: good files; {file}: a file where a folder should be, or one in its way.
CASES = [
    "rules --out {file}",
    "rules --out {file}/below",
    "rules --out /proc/nowhere",
    "rules --config {folder}",
    "rules --format prometheusrule --out {file}",
    "dashboards --out {file}",
    "dashboards --config {missing}",
    "check-config {missing}",
    "check-config {folder}",
    "check-config {file}/below",
    "sidecar --config {missing}",
    "sidecar --config {folder}",
    "sidecar --upstream http://127.0.0.1:1 --listen unix:{file}/below --admin 127.0.0.1:0",
    "sidecar --upstream http://127.0.0.1:1 --listen 127.0.0.1:0 --admin unix:{file}/below",
    "fit {missing}.npy --out {folder}/x.npz",
    "fit {folder} --out {folder}/x.npz",
    "fit {file}/below.npy --out {folder}/x.npz",
    "fit {npy} --out {file}/below.npz",
    "fit {npy} --out /proc/below.npz --window 5 --expected-run-length 50",
    "replay {missing}.npy --reference {ref}",
    "replay {folder} --reference {ref}",
    "replay {clean} --reference {missing}.npz",
    "replay {clean} --reference {folder}",
    "replay {clean} --reference {ref} --out {folder}",
    "replay {clean} --reference {ref} --out {file}/below.csv",
    "replay {clean} --reference {ref} --plot {file}/below.png",
    "explain-threshold {missing}.npz",
    "explain-threshold {folder}",
    "digest {missing}",
    "digest {file}",
]


@pytest.mark.parametrize("case", CASES)
def test_a_path_that_cannot_serve_is_one_line(run, folder: Path, tmp_path: Path, case: str):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    names = {"ref": folder / "reference.npz", "npy": folder / "ref.npy", "clean": folder / "clean.npy"}
    names |= {name: tmp_path / name for name in ("file", "folder", "missing")}
    code, _, err = run(*(word.format(**names) for word in case.split()))
    lines = [line for line in err.splitlines() if "%" not in line]  # how far the work has come
    assert code == 2, err
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")


def test_every_command_that_takes_a_path_is_tried():
    takes_none = {"version"}
    assert {case.split()[0] for case in CASES} == set(get_command(app).commands) - takes_none  # type: ignore[attr-defined]

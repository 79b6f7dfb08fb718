"""``check-config`` refuses what a later command would refuse, all of it at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def check(run, tmp_path: Path):
    def call(text: str, *options: str) -> tuple[int, str, list[str]]:
        path = tmp_path / "c.yaml"
        path.write_text(text)
        code, out, err = run("check-config", path, *options)
        return code, out, err.splitlines()

    return call


def test_a_good_file_is_ok(check, folder: Path, tmp_path: Path):
    kept = tmp_path / "kept.npz"
    code, out, err = check(
        f"model: m\ndrift: [{{reference: '{folder / 'reference.npz'}', checkpoint: '{kept}'}}]\n"
        "capture: {fields: {confidence: 'jmespath:max(scores)'}}\nalerts: {latency_sla: 250ms}\n"
    )
    assert (code, err) == (0, [])
    assert out == f"{tmp_path / 'c.yaml'}: ok, model m, 1 detector(s)\n"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("capture: {fields: {confidence: 'scores[0'}}", "capture.fields.confidence"),
        ("capture: {fields: {confidence: 'jmespath:max('}}", "capture.fields.confidence"),
        ("capture: {embedder: {kind: onnx, path: nowhere.onnx}}", "capture.embedder.path"),
        ("alerts: {latency_sla: 200ms}", "alerts.latency_sla"),
        ("drift: [{checkpoint: nowhere/kept.npz}]", "drift[0].checkpoint"),
        ("drift: [{checkpoint: .}]", "drift[0].checkpoint"),
        ("drift: [{name: a}, {name: b, reference: nowhere.npy}]", "drift[1].reference"),
        ("drift: [{reference: nowhere.npz}]", "drift[0].reference"),
        ("drift: [{detector: alibi, reference: nowhere}]", "drift[0].reference"),
        ("sidecar: {upstream: 'http://127.0.0.1:10911'}", "admin.listen"),
    ],
)
def test_what_a_later_command_refuses_is_refused(check, text: str, key: str, monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    code, _, lines = check(text)
    assert code == 2
    assert len(lines) == 1
    place = "" if key == "admin.listen" else " (line 1)"  # the default is at fault
    assert lines[0].startswith(f"error: {key}{place}: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "drift: [{checkpoint: nowhere/kept.npz}]",
            "models.food-v1.0.drift[0].checkpoint (line 2): 'nowhere/kept.npz'",
        ),
        ("drift: [{reference: nowhere.npy}]", "models.food-v1.0.drift[0].reference (line 2): "),
        ("capture: {fields: {confidence: 'a['}}", "models.food-v1.0.capture.fields.confidence (line 2): "),
    ],
)
def test_what_is_set_for_a_model_is_checked_too(check, text: str, message: str, monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    code, _, lines = check(f"model: auto\nmodels: {{food-v1.0: {{{text}}}, fine: {{}}}}\n")
    assert code == 2
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {message}")


def test_all_mistakes_are_told_at_once(check):
    code, _, lines = check(
        "capture: {fields: {confidence: 'scores[0'}, embedder: {kind: onnx, path: nowhere.onnx}}\n"
        "alerts: {latency_sla: 200ms}\n"
        "drift: [{checkpoint: nowhere/kept.npz, reference: nowhere.npy}]\n"
    )
    assert code == 2
    assert len(lines) == 5


def test_without_files_only_the_text_is_checked(check):
    assert check("drift: [{reference: nowhere.npy}]", "--no-files")[0] == 0
    assert check("capture: {fields: {confidence: 'scores[0'}}", "--no-files")[0] == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_refused(check, tmp_path: Path):
    (tmp_path / "kept").mkdir(mode=0o500)
    code, _, lines = check(f"drift: [{{checkpoint: '{tmp_path / 'kept' / 'x.npz'}'}}]")
    assert code == 2
    assert "cannot be written to" in lines[0]


@pytest.mark.parametrize("text", ["model: {{ name }}", "\x00", "[" * 2000, "model: !!int x", "a: *a"])
def test_what_is_no_yaml_is_one_line(check, text: str):
    code, out, lines = check(text)
    assert (code, out, len(lines)) == (2, "", 1)
    assert lines[0].startswith("error: config file ")


def test_the_sidecar_refuses_what_it_could_not_keep(run, tmp_path: Path):
    path = tmp_path / "c.yaml"
    path.write_text("sidecar: {upstream: 'http://127.0.0.1:1'}\ndrift: [{checkpoint: nowhere/kept.npz}]\n")
    code, _, err = run("sidecar", "--config", path)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("error: drift[0].checkpoint (line 2): 'nowhere/kept.npz' is not valid: ")

"""Names that have been public go on working for one release, and say what they are called now."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

FORMER = {
    "exporter.detect": (
        "exporter.detectors",
        *("CalibrationReport", "Detector", "Evidence", "OnlineMMD", "Scores", "TwoSampleResult"),
        "two_sample_mmd",
    ),
    "exporter.detect.mmd": ("exporter.detectors", "OnlineMMD"),
    "exporter.monitoring": ("exporter.mixin", "write_dashboards", "write_rules"),
    "exporter.torchvision_ops": ("exporter.embedders.torchvision_ops", "import_torchvision"),
}


@pytest.mark.parametrize("old", FORMER)
def test_a_former_name_is_the_new_one_and_says_so(old: str):
    new, *names = FORMER[old]
    for name in names:
        with pytest.warns(DeprecationWarning, match=f"write from {new} import {name}$") as caught:
            assert getattr(import_module(old), name) is getattr(import_module(new), name)
        assert caught[0].filename == __file__


@pytest.mark.parametrize("old", FORMER)
def test_a_name_that_was_never_there_is_an_attribute_error(old: str):
    with pytest.raises(AttributeError, match=f"module '{old}' has no attribute 'nothing'"):
        _ = import_module(old).nothing


def test_a_program_of_the_former_release_runs():
    code = "from exporter.detect import OnlineMMD; from exporter.detect.mmd import OnlineMMD as same\n"
    run = subprocess.run(
        [sys.executable, "-W", "always", "-c", f"{code}assert same is OnlineMMD"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr.count("DeprecationWarning") >= 2

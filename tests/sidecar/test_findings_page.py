"""The landing page and /api/v1/status: what was found in the last exchanges, and why something is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from exporter.sidecar.findings_page import findings_page, models_met
from tests.servers import get, request, wait_for
from tests.sidecar.inprocess import running


def test_what_was_found_stands_on_the_page_and_in_the_status(tmp_path: Path):
    with running(tmp_path, "model: m\ncapture: {paths: [/predict]}\n") as sidecar:
        assert json.loads(get(sidecar.admin, "/api/v1/status")[1])["models"][0]["exchanges"] == 0
        assert "<table>" not in get(sidecar.admin, "/")[1]
        sidecar.say("cat")
        request(sidecar.listen, "POST", "/predict", json.dumps({"say": {"deep": "secret"}}).encode())

        def settled() -> dict[str, Any] | None:
            (model,) = json.loads(get(sidecar.admin, "/api/v1/status")[1])["models"]
            return model if model["exchanges"] == 2 else None

        model = wait_for(settled, 30, "two exchanges in the status")
        assert (model["model"], model["version"], model["read"]) == ("m", "", 2)
        fields = {"predicted_class": 1, "confidence": 2}
        assert model["found"][0]["fields"] == fields
        page = get(sidecar.admin, "/")[1]
        assert "m: the last 2 exchanges, 2 of them read" in page
        assert "secret" not in page


def test_the_page_names_the_models_that_were_met(tmp_path: Path):
    with running(tmp_path, "model: auto\nversion: auto\ncapture: {paths: ['/v2/models/*']}\n") as sidecar:
        assert "no model met yet" in get(sidecar.admin, "/")[1]
        sidecar.say("cat", "/v2/models/food/versions/2/infer")
        sidecar.say("cat", "/v2/models/drinks/infer")
        named = "models <code>food 2</code>, <code>drinks</code>"
        wait_for(lambda: named in get(sidecar.admin, "/")[1], 30, "both on the page")
        assert "<code>auto" not in get(sidecar.admin, "/")[1]


@pytest.mark.parametrize(
    ("models", "page"),
    [
        ([("m", "", 0)], "model <code>m</code>"),
        ([("a", "1", 0), ("a", "other", 0), ("other", "", 0)], "model <code>a 1</code>"),
        ([("a", "other", 1), ("other", "", 1)], "models <code>a other</code>, <code>other</code>"),
        ([("other", "", 0)], "no model met yet"),
    ],
)
def test_other_is_named_once_there_was_any(models: list[tuple[str, str, int]], page: str):
    given = [dict(zip(("model", "version", "exchanges"), each, strict=True)) for each in models]
    assert models_met({"models": given}) == page


def test_of_very_many_models_the_page_names_some():
    given = [{"model": f"m{n}", "version": "", "exchanges": 0} for n in range(1000)]
    page = models_met({"models": given})
    assert page.endswith(" more")
    assert len(page) < 1000


def test_what_strangers_wrote_is_escaped():
    group = {
        "path": "/<script>",
        "decoder": "plain",
        "exchanges": 1,
        "reason": "no_prediction",
        "why": "nothing",
        "advice": "do <b>",
        "content_type": "text/<i>",
        "request_keys": [],
        "response_keys": ["<img> (text)"],
    }
    model = {"model": "<m>", "version": "2", "exchanges": 1, "read": 0, "found": [], "not_read": [group]}
    page = findings_page({"models": [model]}) + models_met({"models": [model]})
    assert "&lt;script&gt;" in page
    assert "&lt;img&gt; (text)" in page
    assert "&lt;m&gt; 2" in page
    assert not any(tag in page for tag in ("<script", "<img", "<b>", "<i>", "<m>"))

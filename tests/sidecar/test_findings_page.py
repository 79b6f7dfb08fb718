"""The landing page and /api/v1/status: what was found in the last exchanges, and why something is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from exporter.sidecar.findings_page import findings_page
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
    page = findings_page({"models": [model]})
    assert "&lt;script&gt;" in page
    assert "&lt;img&gt; (text)" in page
    assert "&lt;m&gt; 2" in page
    assert not any(tag in page for tag in ("<script", "<img", "<b>", "<i>", "<m>"))

"""The table of responses: what a known server or a home-made service says is read as it is meant, or not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from exporter.config import CaptureConfig
from exporter.decoders.auto import CLAIMS
from exporter.decoders.registry import make_reader
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange
from tests.decoders.conftest import exchange

ROWS: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "responses.yaml").read_text(encoding="utf-8")
)
PAGE = Path(__file__).parents[2] / "docs" / "responses.md"
EVERY = pytest.mark.parametrize("row", ROWS, ids=[f"{row['server']}: {row['route']}" for row in ROWS])


def headers(given: dict[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.encode(), value.encode()) for name, value in given.items())


def made(row: dict[str, Any]) -> Exchange:
    request = row["request_body"].encode() if "request_body" in row else row.get("request")
    response = row["body"].encode() if "body" in row else row["response"]
    return exchange(
        response,
        request,
        headers=headers(row.get("headers", {"content-type": "application/json"})),
        request_headers=headers(row.get("request_headers", {"content-type": "application/json"})),
    )


def plain(reading: dict[str, Any]) -> dict[str, Any]:
    """A reading without its identifier, arrays as lists."""
    return {
        name: np.asarray(value, np.float64).tolist() if isinstance(value, np.ndarray) else value
        for name, value in reading.items()
        if name != "request_id"
    }


def near(readings: list[dict[str, Any]]) -> list[Any]:
    """Numbers of single precision beside those of the table."""
    return [
        {
            name: pytest.approx(value) if isinstance(value, list | float) else value
            for name, value in each.items()
        }
        for each in readings
    ]


def test_the_table_is_long_enough_and_names_each_response_once():
    assert len(ROWS) >= 60
    assert len({(row["server"], row["route"]) for row in ROWS}) == len(ROWS)


@EVERY
def test_a_response_is_read_as_it_is_meant(row: dict[str, Any]):
    asked = made(row)
    read = make_reader(CaptureConfig(payload=row.get("payload", "auto")))
    if "refused" in row:
        with pytest.raises(PayloadError) as caught:
            read(asked)
        assert caught.value.reason == row["refused"]
        return
    assert [plain(reading) for reading in read(asked)] == near(row["readings"])
    assert (asked.read_as or row["payload"]) == row["decoder"]


@EVERY
def test_no_two_protocols_claim_a_response(row: dict[str, Any]):
    document = row.get("response")
    claims = [each.name for each in CLAIMS if isinstance(document, dict) and each.claims(document)]
    assert len(claims) <= 1
    if claims and "payload" not in row and "refused" not in row:
        assert claims == [row["decoder"]]


def page() -> str:
    """The documentation's table."""
    lines = []
    for row in ROWS:
        if "refused" in row:
            found = f"nothing: `{row['refused']}`"
        else:
            names = sorted({name for reading in row["readings"] for name in reading if name != "embedding"})
            own = any(
                "embedding" in each and each["embedding"] != each.get("features") for each in row["readings"]
            )
            found = ", ".join(names + ["embedding"] * own)
        decoder = row.get("decoder", "")
        payload = f" (with `payload: {row['payload']}`)" if "payload" in row else ""
        lines.append(f"| {row['server']} | `{row['route']}` | {decoder}{payload} | {found} |")
    return "\n".join(lines)


def test_the_documentation_has_the_table():
    begin, end = "|---|---|---|---|\n", "\n\n<!-- The end of what is made. -->"
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    wanted = f"{before}{begin}{page()}{end}{after}"
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(wanted, encoding="utf-8")
        return
    assert text == wanted, "UPDATE_GOLDEN=1 python -m pytest tests/decoders/test_responses.py writes it"

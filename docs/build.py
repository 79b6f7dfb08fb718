"""Writes docs/metrics.md from the metric contract, and docs/layers.md from the import contracts.

python docs/build.py [--check]
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from pathlib import Path
from typing import Any

from exporter.http.http1.states import UNOBSERVED_REASONS
from exporter.metrics import contract as metrics
from exporter.metrics.contract import Spec
from exporter.observation import LABEL_OUTCOMES
from exporter.receivers.proxy.upstream import UPSTREAM_FAILURES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
_WIDTH = 84

_HEAD = """# Metrics

Made from `exporter/metrics/contract.py` by `python docs/build.py`. Every labelled series that can be known
beforehand exists from the start with 0. No path, identifier or free text is ever a label; `class_name`
is capped at `capture.max_classes`. Behind `model`, which is capped at `max_models`, stands `version`, empty
unless one is set or said, and capped at `max_versions`; what comes beyond is `other`.
"""
_SECTIONS = (
    ("Predictions", metrics.PREDICTIONS),
    ("Drift", metrics.DRIFT),
    ("The ledger: observed = processed + dropped + sampled out + queued", metrics.LEDGER),
    ("The exporter itself", metrics.OPERATION),
    ("A hook that sends to a collector", metrics.FORWARD),
    ("The ingest API", metrics.INGEST),
    ("Sidecar only", metrics.SIDECAR),
    (
        "HTTP: in the hook by prometheus-fastapi-instrumentator, in the sidecar under the same names",
        metrics.HTTP,
    ),
)


_VALUES = (
    ("`source`", metrics.SOURCES),
    ("`stage`", metrics.ERROR_STAGES),
    ("`state`", metrics.DETECTOR_STATES),
    ("`source` of drift_reference_info", metrics.REFERENCE_SOURCES),
    ("`outcome` of labels", LABEL_OUTCOMES),
    ("`agreement`", metrics.AGREEMENTS),
    ("`reason` of forward_dropped", metrics.FORWARD_DROP_REASONS),
)
_MEANINGS = (
    (
        "`reason` of `inference_exporter_dropped_total`",
        metrics.DROP_REASONS,
        {
            "queue_full": "The queue held `queue.max_items`.",
            "queue_bytes": "The queue held `queue.max_bytes`.",
            "body_too_large": "A body was longer than `capture.max_body_bytes`.",
            "unreadable": "A body could not be decoded or parsed.",
            "no_prediction": "A readable body held none of the fields looked for.",
            "failed": "A stage of the exporter raised while handling it, or its process died.",
            "stopped": "It was still queued when the drain time was over, or came after the stop.",
        },
    ),
    (
        "`reason` of `inference_exporter_proxy_upstream_failures_total`",
        UPSTREAM_FAILURES,
        {
            "refused": "Nobody listens at the address.",
            "unreachable": "No route, or another error of the socket.",
            "unresolved": "The upstream's name has no address.",
            "connect_timeout": "No connection within `sidecar.connect_timeout`.",
            "open_files": "The sidecar had no open file left for a connection to the upstream; "
            "the upstream may be well. Raise the limit (`ulimit -n`).",
            "silent": "No first byte of a response within `sidecar.first_byte_timeout`.",
            "reset": "The upstream broke the connection off.",
            "closed_early": "The upstream ended the connection in good order, before the end of a response. "
            "Seen where the connection is followed.",
        },
    ),
    (
        "`reason` of `inference_exporter_proxy_unobserved_total`",
        UNOBSERVED_REASONS,
        {
            "tls": "The connection begins as TLS does.",
            "http2": "The connection begins as HTTP/2 does, gRPC among it.",
            "upgrade": "It switched protocols: WebSocket, CONNECT.",
            "malformed": "What came is not HTTP/1.",
            "overrun": "More was under way than may be kept.",
            "failed": "A fault of the exporter, or the death of its second process.",
        },
    ),
)
_STATUSES = """### `status` of `http_requests_total`, in the sidecar

The first digit of the response's status, as in `2xx`. An exchange that was broken off is counted as nginx
logs it, whatever status had come: one that the client left as 499, hence `4xx`; one that the upstream broke
off, or ended before the end of its response, as 502, hence `5xx`. Neither is read as a prediction. A 502 or
504 that the sidecar gives itself, where the upstream gave no response, is a `5xx` like any other.
"""

_LAYERS_HEAD = """# Layers

Made from the import contracts in `pyproject.toml` by `python docs/build.py`; `make check` holds the code
to them. A room imports from the layers below its own only. Rooms that share a layer do not import each
other, unless `<->` stands between them.
`(pure)` marks rooms that use no threads, no asyncio and no Prometheus.
"""


def pages() -> dict[str, str]:
    """The text of each page that is made, by its file name."""
    return {"metrics.md": render(), "layers.md": render_layers(import_contracts())}


def import_contracts() -> list[dict[str, Any]]:
    """The contracts as pyproject.toml has them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    return contracts


def render_layers(contracts: list[dict[str, Any]]) -> str:
    """The page of the layers: the drawing, what each room is for, and the other contracts."""
    layers = next(c for c in contracts if c["type"] == "layers" and "containers" not in c)["layers"]
    pure = {
        module
        for contract in contracts
        if contract["type"] == "forbidden" and "threading" in contract["forbidden_modules"]
        for module in contract["source_modules"]
    }
    edge = "+" + "-" * (_WIDTH - 2) + "+"
    lines = [edge]
    for layer in layers:
        rooms = [f"{_short(room)} (pure)" if room in pure else _short(room) for room in _rooms(layer)]
        text = (" <-> " if ":" in layer else "   |   ").join(rooms)
        lines += [f"| {text:^{_WIDTH - 4}} |", edge]
    drawing = "\n".join(lines)
    table = "\n".join(
        f"| `{_short(room)}` | {_purpose(room)} |" for layer in layers for room in _rooms(layer)
    )
    others = "\n".join(f"- {contract['name']}." for contract in contracts)
    return (
        f"{_LAYERS_HEAD}\n```text\n{drawing}\n```\n\n| room | what it holds |\n|---|---|\n{table}\n\n"
        f"All contracts:\n\n{others}\n"
    )


def _rooms(layer: str) -> list[str]:
    return [room.strip() for room in re.split(r"[|:]", layer)]


def _short(module: str) -> str:
    return module.removeprefix("exporter.")


def _purpose(module: str) -> str:
    """The first sentence of a room's docstring."""
    path = ROOT.joinpath(*module.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    said = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return re.sub(r"(?::\w+:)?`+([^`]+)`+", r"`\1`", said.partition("\n")[0]).replace("|", "or")


def render() -> str:
    """The page of the metrics."""
    parts = [_HEAD]
    for title, specs in _SECTIONS:
        parts.append(
            f"## {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n{_rows(specs)}\n"
        )
    parts.append(_values())
    return "\n".join(parts)


def _rows(specs: tuple[Spec, ...]) -> str:
    return "\n".join(
        f"| `{spec.name}` | {spec.type} | {', '.join(f'`{label}`' for label in spec.labels)} | {spec.help} |"
        for spec in specs
    )


def _values() -> str:
    table = "\n".join(
        f"| {label} | {', '.join(f'`{value}`' for value in values)} |" for label, values in _VALUES
    )
    parts = [f"## Values of labels\n\n| label | values |\n|---|---|\n{table}\n"]
    for title, values, meanings in _MEANINGS:
        if set(values) != set(meanings):
            raise SystemExit(f"docs/build.py: {title}: say what each of {', '.join(values)} means")
        rows = "\n".join(f"| `{value}` | {meanings[value]} |" for value in values)
        parts.append(f"### {title}\n\n| value | meaning |\n|---|---|\n{rows}\n")
    parts.append(_STATUSES)
    return "\n".join(parts)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a page disagrees")
    check = parser.parse_args().check
    stale = 0
    for name, text in pages().items():
        page = Path(__file__).with_name(name)
        if not check:
            page.write_text(text, encoding="utf-8")
        elif not page.is_file() or page.read_text(encoding="utf-8") != text:
            stale = 1
            print(f"{page}: differs from its source; run python docs/build.py", file=sys.stderr)
    return stale


if __name__ == "__main__":
    sys.exit(main())

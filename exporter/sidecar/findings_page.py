"""What was found in the last exchanges, as a part of the landing page."""

from __future__ import annotations

import html
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any

from exporter.model import OTHER

_NAMED = 30


def findings_page(status: dict[str, Any]) -> str:
    """HTML for :meth:`exporter.runtime.Runtime.status`: a table for each model that had an exchange."""
    return "".join(_model(model) for model in status["models"] if model["exchanges"])


def models_met(status: dict[str, Any]) -> str:
    """HTML that names the models that there are, each with its version; ``other`` once it had an exchange."""
    met = [model for model in status["models"] if model["exchanges"] or OTHER not in _identity(model)]
    if not met:
        return "no model met yet"
    named = ", ".join(f"<code>{html.escape(_name(model))}</code>" for model in met[:_NAMED])
    more = f" and {len(met) - _NAMED} more" if len(met) > _NAMED else ""
    return f"{'models' if len(met) > 1 else 'model'} {named}{more}"


def _name(model: dict[str, Any]) -> str:
    return " ".join(_identity(model)).strip()


def _identity(model: dict[str, Any]) -> tuple[str, str]:
    return model["model"], model["version"]


def _model(model: dict[str, Any]) -> str:
    rows = [_filled("found.html", {**each, "fields": _listed(each["fields"])}) for each in model["found"]]
    for each in model["not_read"]:
        keys = {name: _listed(each[name]) or "no JSON" for name in ("request_keys", "response_keys")}
        rows.append(_filled("not_read.html", {**each, **keys}))
    filled = {"exchanges": model["exchanges"], "read": model["read"], "model": _name(model)}
    return _template("model.html").substitute(_escaped(filled), rows="".join(rows))


def _filled(page: str, values: dict[str, Any]) -> str:
    return _template(page).substitute(_escaped(values))


def _escaped(values: dict[str, Any]) -> dict[str, str]:
    return {name: html.escape(str(value)) for name, value in values.items()}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


@cache
def _template(page: str) -> Template:
    return Template((files("exporter.sidecar") / "pages" / page).read_text(encoding="utf-8"))

"""``inference-exporter check-config``: what is wrong with a configuration file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from exporter.config import Config
from exporter.config.loading import load_with_origins
from exporter.config.messages import Origins, placed
from exporter.errors import ConfigError, InferenceExporterError
from exporter.model import ModelId


def check_config(
    config: Annotated[Path, typer.Argument(help="YAML configuration file.")],
    *,
    files: Annotated[bool, typer.Option(help="Also read the references and models that it names.")] = True,
) -> None:
    """Check a configuration file; exit code 2 and one line for each mistake if it has any.

    What `sidecar`, a hook, `rules` or `dashboards` would refuse is refused here.
    """
    loaded, origins = load_with_origins(config)
    problems = [*problems_at_start(loaded), *_problems_of_rules(loaded)]
    if files:
        for at, own in _each(loaded):
            problems += [f"{at}{problem}" for problem in _problems_of_files(own)]
    refuse(problems, origins)
    typer.echo(f"{config}: ok, model {loaded.model}, {len(loaded.drift)} detector(s)")


def refuse(problems: Iterable[str], origins: Origins) -> None:
    """Raise a :class:`ConfigError` of one line for each problem, if there are any."""
    lines = [placed(problem, origins) for problem in problems]
    if lines:
        raise ConfigError("\n".join(lines))


def problems_at_start(config: Config) -> Iterator[str]:
    """What keeps a service from starting with a configuration, one line for each mistake.

    Cheap: no reference or model is read.
    """
    for at, own in _each(config):
        yield from (f"{at}{problem}" for problem in _problems_at_start(own))


def _each(config: Config) -> Iterator[tuple[str, Config]]:
    """What is set for all, and for single models: where it stands, and a configuration of nothing else."""
    yield "", config
    for name, over in config.models.items():
        own = config.of(ModelId(name))
        keys: list[str] = ["capture", "drift"]
        given = {key: getattr(own, key) for key in keys if key in over.model_fields_set}
        yield f"models.{name}.", Config(drift=()).model_copy(update=given)


def _problems_at_start(config: Config) -> Iterator[str]:
    from exporter.decoders.registry import make_reader

    yield from _problems_of(partial(make_reader, config.capture))
    for index, entry in enumerate(config.drift):
        if entry.checkpoint is None:
            continue
        folder = entry.checkpoint.absolute().parent
        reason = None
        if entry.checkpoint.is_dir():
            reason = "it is a folder; give the path of a file"
        elif not folder.is_dir():
            reason = "its folder does not exist; create it"
        elif not os.access(folder, os.W_OK | os.X_OK):
            reason = "its folder cannot be written to; allow it, or give another one"
        if reason is not None:
            yield f"drift[{index}].checkpoint: {str(entry.checkpoint)!r} is not valid: {reason}"


def _problems_of_rules(config: Config) -> Iterator[str]:
    from exporter.mixin.rules import prometheus_rules
    from exporter.mixin.terms import Terms

    return _problems_of(lambda: prometheus_rules(Terms.of(config)))


def _problems_of_files(config: Config) -> Iterator[str]:
    from exporter.drift.detectors import check_detector

    if config.capture.embedder is not None:
        from exporter.embedders.embedder import Embedder

        yield from _problems_of(partial(Embedder, config.capture.embedder))
    for index, entry in enumerate(config.drift):
        for problem in _problems_of(partial(check_detector, entry)):
            text = problem.removeprefix("drift.")
            names_key = text.partition(":")[0] in type(entry).model_fields
            yield f"drift[{index}].{'' if names_key else 'reference: '}{text}"


def _problems_of(make: Callable[[], object]) -> Iterator[str]:
    """What a later command would say, in one line, when it makes the same."""
    try:
        make()
    except InferenceExporterError as error:
        yield " ".join(str(error).split())

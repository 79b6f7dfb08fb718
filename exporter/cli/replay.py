"""``inference-exporter replay``: what a detector would have said about a recorded stream."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from exporter.cli import console

EXIT_DRIFT = 3


def replay(
    stream: Annotated[
        Path,
        typer.Argument(help="Embeddings in the order observed: .npy, .npz, .csv, .parquet or .jsonl."),
    ],
    reference: Annotated[Path, typer.Option(help="A detector made by `inference-exporter fit`.")],
    plot: Annotated[Path | None, typer.Option(help="Draw the statistic over its threshold (.png).")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write every verdict: row, window, statistic, threshold (.csv).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
    key: Annotated[
        str | None, typer.Option(help="The array, column of lists, or JSON key that holds the embeddings.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
) -> None:
    """Test a recorded stream; exit code 3 if it drifted, 0 if not, 2 if the input is bad."""
    from exporter.cli.replay_report import as_object, print_report, write_verdicts
    from exporter.offline.fitting import load_fitted
    from exporter.offline.recording import read_recording
    from exporter.offline.replay import replay as run

    if plot is not None:
        from exporter.cli.plot import check_plot

        check_plot(plot)
    detector = load_fitted(reference, device=device)
    recording = read_recording(stream, key=key)
    with console.progress("replaying") as progress:
        result = run(detector, recording.embeddings, progress=progress)
    if out is not None:
        write_verdicts(out, result)
    if plot is not None:
        from exporter.cli.plot import draw

        draw(result, plot, title=stream.name)
    if as_json:
        typer.echo(orjson.dumps(as_object(detector, recording, result), option=orjson.OPT_INDENT_2))
    else:
        print_report(detector, recording, result, stream)
        for path in (out, plot):
            if path is not None:
                typer.echo(f"Written: {path}")
    if result.is_drift:
        raise typer.Exit(EXIT_DRIFT)

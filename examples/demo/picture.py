"""The picture that stays: the statistic against its threshold, with the phases marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from examples.demo.scrape import Snapshot
from examples.demo.story import Outcome

COLOURS = {True: "#d1495b", False: "#3a7d44", None: "#9a9a9a"}


def save_picture(history: Sequence[Snapshot], outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw all scrapes into a PNG file; the x axis counts requests."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    scrapes = [s for s in history if s.phase >= 0]
    requests = [s.observed for s in scrapes]
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(11, 6), sharex=True, height_ratios=(3, 1), layout="constrained"
    )

    above.plot(
        requests, [s.statistic for s in scrapes], color="#1d3557", linewidth=1.6, label="statistic (MMD²)"
    )
    above.plot(
        requests,
        [s.threshold for s in scrapes],
        color="#e09f3e",
        linestyle="--",
        linewidth=1.6,
        label="threshold",
    )
    steps = [
        (b.observed, (b.confidence_sum - a.confidence_sum) / (b.confidence_count - a.confidence_count))
        for a, b in zip(scrapes, scrapes[4:], strict=False)
        if b.confidence_count > a.confidence_count
    ]
    below.plot([x for x, _ in steps], [y for _, y in steps], color="#1d3557", linewidth=1.2)
    below.set_ylim(0.0, 1.05)
    below.set_ylabel("mean confidence")
    below.set_xlabel("requests")
    above.set_ylabel("drift_test_stat")

    start = 0
    for result in outcomes:
        colour = COLOURS[result.phase.expect_drift]
        for axes in (above, below):
            axes.axvspan(start, start + result.requests, color=colour, alpha=0.12, linewidth=0)
        above.text(
            start + result.requests / 2,
            1.01,
            result.phase.name,
            transform=above.get_xaxis_transform(),
            ha="center",
            va="bottom",
            color=colour,
            fontweight="bold",
            rotation=0 if result.requests > 100 else 30,
        )
        if result.delay is not None and result.phase.expect_drift:
            x = start + result.delay
            above.axvline(x, color=COLOURS[True], linewidth=1.2)
            above.annotate(
                f"found after {result.delay} requests",
                (x, 0.93),
                xycoords=("data", "axes fraction"),
                xytext=(-8, 0),
                textcoords="offset points",
                ha="right",
                color=COLOURS[True],
            )
        start += result.requests
    length = scrapes[-1].expected_run_length
    figure.suptitle(f"Online MMD on live embeddings; one false alarm expected in {length:,.0f} tests")
    above.legend(loc="upper right")
    above.set_xlim(0, start)
    above.grid(alpha=0.25)
    below.grid(alpha=0.25)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)

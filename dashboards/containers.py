"""Containers: what cAdvisor measures of each."""

from __future__ import annotations

from dashboards.panels import Board, lines, number

RATE = "[$__rate_interval]"
_NAMED = 'name!="", name=~"$container"'


def _rate(metric: str) -> str:
    return f"sum by (name) (rate({metric}{{{_NAMED}}}{RATE}))"


def containers() -> Board:
    """Build the dashboard."""
    board = Board(
        "inference-containers", "Containers", "Resource use of every container, by cAdvisor.", since="now-1h"
    )
    board.variable("container", "Container", 'label_values(container_last_seen{name!=""}, name)')
    memory = f"sum by (name) (container_memory_working_set_bytes{{{_NAMED}}})"
    limit = f"sum by (name) (container_spec_memory_limit_bytes{{{_NAMED}}} > 0)"
    board.row("Now")
    for query, unit, title, description in (
        (f"count(container_last_seen{{{_NAMED}}})", "none", "Running containers", "Containers seen."),
        (f"sum({_rate('container_cpu_usage_seconds_total')})", "short", "CPU in use", "In cores."),
        (f"sum({memory})", "bytes", "Memory in use", "Working set of all containers."),
        (
            f"sum(changes(container_start_time_seconds{{{_NAMED}}}[$__range]))",
            "none",
            "Restarts",
            "Starts of containers in the selected time range.",
        ),
    ):
        board.add(number((query, title), unit), title, description, w=6, h=4)
    board.row("CPU and memory")
    board.add(
        lines([(_rate("container_cpu_usage_seconds_total"), "{{name}}")], "short", low=0),
        "CPU usage",
        "In cores.",
        w=12,
    )
    throttled = (
        f"{_rate('container_cpu_cfs_throttled_periods_total')} "
        f"/ ({_rate('container_cpu_cfs_periods_total')} > 0)"
    )
    board.add(
        lines([(throttled, "{{name}}")], "percentunit", low=0, high=1),
        "CPU throttling",
        "Share of scheduling periods in which a container hit its CPU limit. Empty without a limit.",
        w=12,
    )
    board.add(lines([(memory, "{{name}}")], "bytes", low=0), "Memory usage", "Working set.", w=12)
    board.add(
        lines([(f"{memory} / {limit}", "{{name}}")], "percentunit", low=0),
        "Memory against its limit",
        "Working set over the limit. Empty without a limit.",
        w=12,
    )
    board.row("Network and disk")
    for metric, title, description in (
        ("container_network_receive_bytes_total", "Network received", "Bytes received a second."),
        ("container_network_transmit_bytes_total", "Network sent", "Bytes sent a second."),
        ("container_fs_reads_bytes_total", "Disk read", "Bytes read a second."),
        ("container_fs_writes_bytes_total", "Disk written", "Bytes written a second."),
    ):
        board.add(lines([(_rate(metric), "{{name}}")], "Bps", low=0), title, description, w=12)
    return board

"""The README's table, between marks, made of the results alone. Pure."""

from __future__ import annotations

import re

from week01_http_server.bench.results import BASE, Bench, Cell, median

BEGIN, END = "<!-- bench: w01 begin -->", "<!-- bench: w01 end -->"


def spread(samples: list[float], digits: int = 0) -> str:
    """`2 (1-5)`: median, lowest, highest."""
    low, high = min(samples), max(samples)
    return f"{median(samples):,.{digits}f} ({low:,.{digits}f}-{high:,.{digits}f})"


def rows(bench: Bench, case: str) -> list[tuple[str, str, str, str, str]]:
    """Server, requests a second, ratio to the base, processor time, its ratio to the base."""
    return [
        (
            cell.server,
            spread(cell.series("per_s")),
            _ratio(bench, cell, "per_s"),
            spread(cell.series("cpu_us"), 1),
            _ratio(bench, cell, "cpu_us"),
        )
        for cell in bench.of_case(case)
    ]


def _ratio(bench: Bench, cell: Cell, field: str) -> str:
    ratios = bench.ratios(cell, field)
    return f"{median(ratios):.2f}" if ratios else ""


def provenance(bench: Bench) -> str:
    """Where and of what, in one sentence."""
    host, environment = bench.environment.host, bench.environment
    return (
        f"Median (lowest-highest) of the rounds of one run at commit {environment.commit[:12]}, "
        f"{environment.started_at[:10]}, on {host['processors']} x {host['processor']}, "
        f"{host['memory_gib']} GiB, {host['system']}."
    )


def markdown(bench: Bench, report: str) -> str:
    """Everything between the marks; `report` is the link to it, as seen from the README."""
    parts = []
    for case, says in bench.cases.items():
        parts += [f"**{case}**: {says}.", ""]
        parts += [
            f"| server | requests/s | of {BASE}'s | server CPU per request, µs | of {BASE}'s |",
            "|---|---|---|---|---|",
        ]
        parts += [f"| {' | '.join(row)} |" for row in rows(bench, case)]
        parts.append("")
    if bench.idle:
        parts += [f"**Idle connections**: memory for each, of {bench.idle[0].connections:,}.", ""]
        parts += ["| server | KiB for each | whole server, MiB |", "|---|---|---|"]
        parts += [
            f"| {one.server} | {one.each_bytes / 1024:.1f} | {one.after_bytes / 2**20:.0f} |"
            for one in bench.idle
        ]
        parts.append("")
    versions = ", ".join(f"{name} {version}" for name, version in bench.versions.items())
    return "\n".join([*parts, f"{provenance(bench)} {versions}. [Report and plots]({report})."])


def with_table(readme: str, content: str) -> str:
    """The README's text with its table made anew. Raises ValueError where a mark is missing."""
    pattern = re.compile(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}", re.DOTALL)
    if len(pattern.findall(readme)) != 1:
        raise ValueError(f"{BEGIN} and {END} do not stand there once each, in this order")
    inner = f"{content}\n" if content else ""
    return pattern.sub(lambda _: f"{BEGIN}\n{inner}{END}", readme)

"""The README's table, between marks, made of the results alone. Pure."""

from __future__ import annotations

import re

from week01_http_server.bench.results import BASE, Bench, Cell, median

ASGI = "ours, ASGI"
ASGI_PEERS = ("granian", "uvicorn")

LIMITED = " †"
CLIENT_BUSY = 0.95
"""From this share of a processor on the client, which has one thread, sets the rate."""

BEGIN, END = "<!-- bench: w01 begin -->", "<!-- bench: w01 end -->"


def spread(samples: list[float], digits: int = 0) -> str:
    """`2 (1-5)`: median, lowest, highest."""
    low, high = min(samples), max(samples)
    return f"{median(samples):,.{digits}f} ({low:,.{digits}f}-{high:,.{digits}f})"


def heads(bench: Bench, case: str) -> tuple[str, ...]:
    """Of the columns of `rows`."""
    speed = ("requests/s", f"of {BASE}'s")
    if case in bench.open_loop:
        speed = ("p50, ms", "p99, ms")
    return ("server", *speed, "server CPU per request, µs", f"of {BASE}'s")


def rows(bench: Bench, case: str) -> list[tuple[str, ...]]:
    """Server, speed, processor time and its ratio to the base's; a speed is a rate and its ratio,
    or latencies where the client sets the rate."""
    return [
        (
            cell.server,
            *_speed(bench, cell),
            spread(cell.series("cpu_us"), 1),
            _ratio(bench, cell, "cpu_us"),
        )
        for cell in bench.of_case(case)
    ]


def _speed(bench: Bench, cell: Cell) -> tuple[str, str]:
    if cell.case in bench.open_loop:
        return spread(cell.series("p50_ms"), 2), spread(cell.series("p99_ms"), 2)
    mark = LIMITED if limited(cell) else ""
    return spread(cell.series("per_s")) + mark, _ratio(bench, cell, "per_s")


def limited(cell: Cell) -> bool:
    """Whether it was the client that could not do more."""
    return median(cell.series("client_busy")) >= CLIENT_BUSY


def legend(bench: Bench, case: str) -> str:
    """What the mark means, where it is used."""
    if case in bench.open_loop or not any(map(limited, bench.of_case(case))):
        return ""
    return f"{LIMITED.strip()} the client had no processor left: this server could do more."


def _ratio(bench: Bench, cell: Cell, field: str, base: str = BASE) -> str:
    ratios = bench.ratios(cell, field, base)
    return f"{median(ratios):.2f}" if ratios else ""


def among_asgi(bench: Bench, case: str) -> str:
    """The ASGI servers' rates beside each other, in a sentence; "" where there are none."""
    cell = bench.cell(case, ASGI)
    others = [name for name in ASGI_PEERS if bench.cell(case, name) is not None]
    if cell is None or not others or case in bench.open_loop:
        return ""
    told = " and ".join(f"{_ratio(bench, cell, 'per_s', name)} of {name}'s" for name in others)
    return f"With the same ASGI app: {told} requests per second."


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
        parts += [f"| {' | '.join(heads(bench, case))} |", "|---|---|---|---|---|"]
        parts += [f"| {' | '.join(row)} |" for row in rows(bench, case)]
        parts.append("")
        for told in filter(None, (legend(bench, case), among_asgi(bench, case))):
            parts += [told, ""]
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

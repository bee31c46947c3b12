"""The README's table, between marks, made of the results alone. Pure."""

from __future__ import annotations

from benchmarks.contest.contest import Contest
from benchmarks.contest.results import Bench, Cell, median
from infra.evidence import between

LIMITED = " †"
CLIENT_BUSY = 0.95
"""From this share of a processor on the client, which has one thread, sets the rate."""


def spread(samples: list[float], digits: int = 0) -> str:
    """`2 (1-5)`: median, lowest, highest."""
    low, high = min(samples), max(samples)
    return f"{median(samples):,.{digits}f} ({low:,.{digits}f}-{high:,.{digits}f})"


def heads(contest: Contest, bench: Bench, case: str) -> tuple[str, ...]:
    """Of the columns of `rows`."""
    speed = (f"{contest.asked}s/s", f"of {contest.base}'s")
    if case in bench.open_loop:
        speed = ("p50, ms", "p99, ms")
    return ("server", *speed, f"server CPU per {contest.asked}, µs", f"of {contest.base}'s")


def rows(contest: Contest, bench: Bench, case: str) -> list[tuple[str, ...]]:
    """Server, speed, processor time and its ratio to the base's; a speed is a rate and its ratio,
    or latencies where the client sets the rate."""
    return [
        (
            cell.server,
            *_speed(contest, bench, cell),
            spread(cell.series("cpu_us"), 1),
            ratio(bench, cell, "cpu_us", contest.base),
        )
        for cell in bench.of_case(case)
    ]


def _speed(contest: Contest, bench: Bench, cell: Cell) -> tuple[str, str]:
    if cell.case in bench.open_loop:
        return spread(cell.series("p50_ms"), 2), spread(cell.series("p99_ms"), 2)
    mark = LIMITED if limited(cell) else ""
    return spread(cell.series("per_s")) + mark, ratio(bench, cell, "per_s", contest.base)


def limited(cell: Cell) -> bool:
    """Whether it was the client that could not do more."""
    return median(cell.series("client_busy")) >= CLIENT_BUSY


def legend(bench: Bench, case: str) -> str:
    """What the mark means, where it is used."""
    if case in bench.open_loop or not any(map(limited, bench.of_case(case))):
        return ""
    return f"{LIMITED.strip()} the client had no processor left: this server could do more."


def ratio(bench: Bench, cell: Cell, field: str, base: str) -> str:
    """Median of the ratios within the rounds; "" where the base did not take part."""
    ratios = bench.ratios(cell, field, base)
    return f"{median(ratios):.2f}" if ratios else ""


def parts(bench: Bench, case: str) -> list[tuple[str, ...]]:
    """Where the processor time of a case went: contestant, process, µs for each request."""
    return [
        (cell.server, part, spread(cell.part(part), 1))
        for cell in bench.of_case(case)
        for part in cell.parts
    ]


def provenance(bench: Bench) -> str:
    """Where and of what, in one sentence."""
    host, environment = bench.environment.host, bench.environment
    return (
        f"Median (lowest-highest) of the rounds of one run at commit {environment.commit[:12]}, "
        f"{environment.started_at[:10]}, on {host['processors']} x {host['processor']}, "
        f"{host['memory_gib']} GiB, {host['system']}."
    )


def markdown(contest: Contest, bench: Bench, report: str) -> str:
    """Everything between the marks; `report` is the link to it, as seen from the README."""
    lines = []
    for case, says in bench.cases.items():
        lines += [f"**{case}**: {says}.", ""]
        lines += [f"| {' | '.join(heads(contest, bench, case))} |", "|---|---|---|---|---|"]
        lines += [f"| {' | '.join(row)} |" for row in rows(contest, bench, case)]
        lines.append("")
        if apart := parts(bench, case):
            lines += [f"| of it | process | µs per {contest.asked} |", "|---|---|---|"]
            lines += [f"| {' | '.join(row)} |" for row in apart]
            lines.append("")
        for told in filter(None, (legend(bench, case), contest.remark(bench, case))):
            lines += [told, ""]
    if bench.idle:
        lines += [f"**Idle connections**: memory for each, of {bench.idle[0].connections:,}.", ""]
        lines += ["| server | KiB for each | whole server, MiB |", "|---|---|---|"]
        lines += [
            f"| {one.server} | {one.each_bytes / 1024:.1f} | {one.after_bytes / 2**20:.0f} |"
            for one in bench.idle
        ]
        lines.append("")
    versions = ", ".join(f"{name} {version}" for name, version in bench.versions.items())
    return "\n".join([*lines, f"{provenance(bench)} {versions}. [Report and plots]({report})."])


def with_table(contest: Contest, readme: str, content: str) -> str:
    """The README's text with its table made anew. Raises ValueError where a mark is missing."""
    return between.replaced(readme, contest.marks, content)

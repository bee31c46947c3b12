"""The report of a run: one HTML page that needs nothing but itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from benchmarks.contest import table
from benchmarks.contest.contest import Contest
from benchmarks.contest.results import Bench, Cell, median
from infra.evidence import html, plots


def page(contest: Contest, bench: Bench) -> str:
    """The whole document, always the same for the same results."""
    parts = [_opening(contest, bench)]
    for case in bench.cases:
        parts.append(_case(contest, bench, case))
    parts += [_idle(bench), _where(bench)]
    return html.document(
        contest.title, "\n".join(parts), plots.STYLE + ".numbers { max-width: 48rem; }"
    )


def _opening(contest: Contest, bench: Bench) -> str:
    warning = "<p><strong>A quick run: too short to rely on.</strong></p>" if bench.quick else ""
    who = html.cards(
        ("server", "what it is"),
        [(escape(name), escape(says)) for name, says in bench.servers.items()],
    )
    return f"""{warning}<p>{escape(contest.opening)}</p>
<p class="dim">{escape(table.provenance(bench))}</p>
{who}"""


def _case(contest: Contest, bench: Bench, case: str) -> str:
    cells = bench.of_case(case)
    figures = html.numbers(
        "median (lowest-highest)",
        table.heads(contest, bench, case),
        _escaped(table.rows(contest, bench, case)),
    )
    latency = html.numbers(
        "latency: median over the rounds of each percentile, ms",
        ("server", *_percentiles(cells), "client busy"),
        (_latency(cell) for cell in cells),
    )
    drawn = "".join(
        f"<figure>{plots.lanes(_lanes(contest, cells, field), unit)}</figure>"
        for field, unit in (
            ("p99_ms", "p99, ms") if case in bench.open_loop else ("per_s", "requests per second"),
            ("cpu_us", f"µs of server CPU per {contest.asked}"),
        )
    )
    told = "".join(
        f"<p>{escape(line)}</p>"
        for line in (table.legend(bench, case), contest.remark(bench, case))
        if line
    )
    return f"""<section><h2>{escape(case)}</h2>
<p>{escape(bench.cases[case])}.</p>
{figures}{_parts(contest, bench, case)}{told}{drawn}{latency}</section>"""


def _parts(contest: Contest, bench: Bench, case: str) -> str:
    apart = table.parts(bench, case)
    if not apart:
        return ""
    heads = ("server", "process", f"µs per {contest.asked}")
    return html.numbers("where the processor time went", heads, _escaped(apart))


def _escaped(rows: Iterable[Sequence[str]]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        yield tuple(map(escape, row))


def _lanes(contest: Contest, cells: list[Cell], field: str) -> list[plots.Lane]:
    return [
        (cell.server, "claim" if cell.server.startswith(contest.ours) else "", cell.series(field))
        for cell in cells
    ]


def _percentiles(cells: list[Cell]) -> list[str]:
    return list(cells[0].rounds[0].latency_us) if cells else []


def _latency(cell: Cell) -> tuple[str, ...]:
    names = cell.rounds[0].latency_us
    values = [median([one.latency_us[name] for one in cell.rounds]) / 1000 for name in names]
    busy = median(cell.series("client_busy"))
    return (escape(cell.server), *(f"{value:.2f}" for value in values), f"{100 * busy:.0f}%")


def _idle(bench: Bench) -> str:
    if not bench.idle:
        return ""
    heads = ("server", "connections", "KiB for each", "MiB before", "MiB with them")
    figures = html.numbers(
        "proportional set size of all processes; what the kernel keeps for sockets is not in it",
        heads,
        [
            (
                escape(one.server),
                f"{one.connections:,}",
                f"{one.each_bytes / 1024:.1f}",
                f"{one.before_bytes / 2**20:.1f}",
                f"{one.after_bytes / 2**20:.1f}",
            )
            for one in bench.idle
        ],
    )
    return f"<section><h2>Idle connections</h2>{figures}</section>"


def _where(bench: Bench) -> str:
    environment = bench.environment
    named = {
        "commit": environment.commit + (" (with changes)" if environment.dirty else ""),
        "started": environment.started_at,
        "took": f"{bench.seconds:.0f} s",
        **{name: str(value) for name, value in environment.host.items()},
        **bench.versions,
    }
    return f"<h2>How</h2>{html.facts(bench.parameters)}<h2>Where</h2>{html.facts(named)}"

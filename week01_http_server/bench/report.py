"""The report of a run: one HTML page that needs nothing but itself. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from infra.evidence import html, plots
from week01_http_server.bench.results import Bench, Cell, median
from week01_http_server.bench.table import among_asgi, heads, legend, provenance, rows

TITLE = "Week 1: this server beside nginx"
_OURS = "ours"


def page(bench: Bench) -> str:
    """The whole document, always the same for the same results."""
    parts = [_opening(bench)]
    for case in bench.cases:
        parts.append(_case(bench, case))
    parts += [_idle(bench), _where(bench)]
    return html.document(TITLE, "\n".join(parts), plots.STYLE + ".numbers { max-width: 48rem; }")


def _opening(bench: Bench) -> str:
    warning = "<p><strong>A quick run: too short to rely on.</strong></p>" if bench.quick else ""
    who = html.cards(
        ("server", "what it is"),
        [(escape(name), escape(says)) for name, says in bench.servers.items()],
    )
    return f"""{warning}<p>Every server runs alone in one process or worker and answers the same
requests of the same client on the same machine; in each round all take their turn. A ratio is the
median of the ratios within a round. Processor time is what the kernel charged all processes of the
server (user and system), divided by the answers: it says what a request costs even where the client
is what limits the rate.</p>
<p class="dim">{escape(provenance(bench))}</p>
{who}"""


def _case(bench: Bench, case: str) -> str:
    cells = bench.of_case(case)
    table = html.numbers("median (lowest-highest)", heads(bench, case), _escaped(bench, case))
    latency = html.numbers(
        "latency: median over the rounds of each percentile, ms",
        ("server", *_percentiles(cells), "client busy"),
        (_latency(cell) for cell in cells),
    )
    drawn = "".join(
        f"<figure>{plots.lanes(_lanes(cells, field), unit)}</figure>"
        for field, unit in (
            ("p99_ms", "p99, ms") if case in bench.open_loop else ("per_s", "requests per second"),
            ("cpu_us", "µs of server CPU per request"),
        )
    )
    told = "".join(
        f"<p>{escape(line)}</p>" for line in (legend(bench, case), among_asgi(bench, case)) if line
    )
    return f"""<section><h2>{escape(case)}</h2>
<p>{escape(bench.cases[case])}.</p>
{table}{told}{drawn}{latency}</section>"""


def _escaped(bench: Bench, case: str) -> Iterator[tuple[str, ...]]:
    for row in rows(bench, case):
        yield tuple(map(escape, row))


def _lanes(cells: list[Cell], field: str) -> list[plots.Lane]:
    return [
        (cell.server, "claim" if cell.server.startswith(_OURS) else "", cell.series(field))
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
    table = html.numbers(
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
    return f"<section><h2>Idle connections</h2>{table}</section>"


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

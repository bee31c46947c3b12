"""`python -m benchmarks.report MEASURED.json... -o report.html`: one page about load measurements.

Takes what `benchmarks.measurement.save` or `python -m benchmarks.client --json` wrote. The page
shows the runs side by side, the course and the latencies of each, the topology and the machine; it
needs nothing but itself.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

from benchmarks import measurement, plots, svg
from benchmarks.client.histogram import Distribution, merged
from benchmarks.client.results import Result
from benchmarks.locust import LocustResult
from benchmarks.measurement import Environment, Measurement, Run, Service
from benchmarks.summaries import NONE, by_label, median_and_range, series, summary
from benchmarks.wrk import WrkResult
from infra.evidence import html
from infra.evidence import plots as lanes
from infra.evidence.figures import shown
from infra.lab.errors import LabError, UsageError

FILES_MAX = 50

STYLE = (
    lanes.STYLE
    + """
h3 { font-size: 1rem; margin: 1.75rem 0 .25rem; } summary { cursor: pointer; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr));
  gap: .75rem; align-items: start; margin: .75rem 0; } .figures figure { margin: 0; }
figure svg .back { fill: none; } th + td { overflow-wrap: anywhere; }
"""
)


def page(measured: Sequence[Measurement]) -> str:
    """The whole document, made from the measurements alone. UsageError for none."""
    if not any(one.runs for one in measured):
        raise UsageError("there are no runs in it: nothing was measured")
    if len(measured) == 1:
        [one] = measured
        return html.document(one.title, _chapter(one), STYLE)
    parts = [
        f"<section><h2>{escape(one.title)}</h2>\n{_chapter(one)}</section>" for one in measured
    ]
    return html.document("Load measurements", "\n".join(parts), STYLE)


def _chapter(one: Measurement) -> str:
    parts = [f"<p>{escape(one.says)}</p>" if one.says else "", _overview(one.runs)]
    parts.append(_figures(_compared(one.runs)))
    for label, runs in by_label(one.runs).items():
        parts.append(_section(label, runs))
    parts.append("<h3>Topology</h3>" + _topology(one.services))
    parts.append("<h3>Where</h3>" + _where(one.environment))
    return "\n".join(part for part in parts if part)


# ---- side by side


def _overview(runs: Sequence[Run]) -> str:
    heads = ("measured", "load", "runs", "right per second", "p50, ms", "p99, ms", "failed")
    names = ("right answers (per second)", "p50 (ms)", "p99 (ms)")
    rows = []
    for label, group in by_label(runs).items():
        told = [summary(run.result) for run in group]
        samples = series(group)
        failed, requests = sum(one.failed for one in told), sum(one.requests for one in told)
        rows.append(
            (
                escape(label),
                "<br>".join(dict.fromkeys(escape(one.load) for one in told)),
                str(len(group)),
                *(median_and_range(samples.get(name, ())) for name in names),
                f"{failed:,} of {requests:,}",
            )
        )
    return html.cards(heads, rows) + (
        '<p class="dim">Median (lowest to highest) of the runs. wrk counts every answer, and does '
        "not see what it cannot ask while the server stalls.</p>"
        if any(isinstance(run.result, WrkResult) for run in runs)
        else '<p class="dim">Median (lowest to highest) of the runs.</p>'
    )


def _compared(runs: Sequence[Run]) -> list[str]:
    """A figure for each series that more than one run has, and the latencies on one scale."""
    samples = {label: series(group) for label, group in by_label(runs).items()}
    names = dict.fromkeys(name for named in samples.values() for name in named)
    parts = []
    for name in names:
        rows = [(label, "claim", named.get(name, ())) for label, named in samples.items()]
        if sum(len(row[2]) for row in rows) > 1:
            what, _, unit = name.removesuffix(")").rpartition(" (")
            parts.append(f"<figcaption>{escape(what)}</figcaption>{lanes.lanes(rows, unit)}")
    told = {
        label: found
        for label, group in by_label(runs).items()
        if (found := _latencies(group)).count
    }
    items = list(told.items())
    for first in range(0, len(items), svg.SERIES_MAX):
        some = dict(items[first : first + svg.SERIES_MAX])
        parts.append(plots.percentiles(some, "Latency of right answers"))
    return parts


def _latencies(runs: Sequence[Run]) -> Distribution:
    """Of the counting client's runs together; the other tools tell no distribution."""
    return merged(run.result.latency for run in runs if isinstance(run.result, Result))


# ---- each by itself


def _section(label: str, runs: Sequence[Run]) -> str:
    """The first run in full; its repetitions can be unfolded."""
    drawn = [text for run in runs if (text := _run(run))]
    if not drawn:
        return ""
    more = "".join(
        f"<details><summary>repetition {number}</summary>{text}</details>"
        for number, text in enumerate(drawn[1:], 2)
    )
    return f"<section><h3>{escape(label)}</h3>{drawn[0]}{more}</section>"


def _run(run: Run) -> str:
    result = run.result
    if isinstance(result, WrkResult):
        return _wrk(result)
    return _client(run, result) if isinstance(result, Result) else _locust(result)


def _client(run: Run, result: Result) -> str:
    ends = ", ".join(f"{many:,} {escape(name)}" for name, many in result.outcomes.items())
    parts = [
        f'<p class="dim">{result.due:,} requests in {result.elapsed_s:.1f} s: {ends}. '
        f"{result.connections_opened:,} connections were opened, {result.retries:,} attempts were "
        f"retries; the client took {result.cpu_us_per_attempt:.1f} µs of processor time for "
        f"each attempt ({escape(result.loop)}).</p>"
    ]
    drawn = []
    if result.timeline:
        drawn.append(plots.timeline(result, "The course of the run", run.marks))
    if result.latency.count:
        drawn.append(plots.histogram(result.latency, "Latency of right answers"))
    parts.append(_figures(drawn))
    if result.outages:
        parts.append(_outages(result))
    return "".join(parts)


def _outages(result: Result) -> str:
    rows = [
        (f"from {one.start_s:.3f} s on", f"{one.duration_s * 1000:.0f}", f"{one.failures:,}")
        for one in result.outages
    ]
    caption = f"{result.outage_count} outages, together {result.outage_total_s:.3f} s"
    return html.numbers(caption, ("outage", "ms", "failed"), rows)


def _wrk(result: WrkResult) -> str:
    at = {f"p{percent}": us for percent, us in result.percentiles_us.items()}
    named = {"mean": result.latency_mean_us, **at, "max": result.latency_max_us}
    cells = ("all answers", *(shown(value / 1000) for value in named.values()))
    return html.numbers("latency by wrk, ms", ("", *named), [cells])


def _locust(result: LocustResult) -> str:
    percents = list(dict.fromkeys(name for row in result.rows for name in row.percentiles_ms))
    heads = ("request", "requests", "failed", "mean", *(f"p{one}" for one in percents), "max")
    rows = [
        (
            escape(f"{row.method} {row.name}"),
            f"{row.requests:,}",
            f"{row.failures:,}",
            shown(row.mean_ms),
            *(
                f"{row.percentiles_ms[one]:g}" if one in row.percentiles_ms else NONE
                for one in percents
            ),
            shown(row.max_ms),
        )
        for row in result.rows
    ]
    parts = [html.numbers("times by locust, ms", heads, rows)]
    if len(result.course) > 1:
        parts.insert(0, _figures([plots.course(_rates(result), "The course of the run")]))
    if result.failures:
        told = [
            (escape(f"{one.method} {one.name}: {one.error}"), f"{one.occurrences:,}")
            for one in result.failures
        ]
        parts.append(html.numbers("failures", ("what", "times"), told))
    return "".join(parts)


def _rates(result: LocustResult) -> dict[str, list[tuple[float, float]]]:
    start = result.course[0].at_unix_s
    return {
        "requests": [(one.at_unix_s - start, one.requests_per_s) for one in result.course],
        "failures": [(one.at_unix_s - start, one.failures_per_s) for one in result.course],
    }


def _figures(drawn: Sequence[str]) -> str:
    """Side by side where there is room."""
    told = "".join(f"<figure>{one}</figure>" for one in drawn)
    return f'<div class="figures">{told}</div>' if told else ""


# ---- what it was measured on


def _topology(services: Sequence[Service]) -> str:
    if not services:
        return '<p class="dim">Not written down: a target that the lab did not start.</p>'
    return html.cards(
        ("service", "server", "address", "uses"),
        [
            (
                escape(one.name),
                escape(one.server),
                escape(one.address),
                escape(", ".join(one.needs)),
            )
            for one in services
        ],
    )


def _where(environment: Environment | None) -> str:
    if environment is None:
        return '<p class="dim">Nobody wrote down the machine and the commit.</p>'
    commit = environment.commit + (" and changes on top of it" if environment.dirty else "")
    host = {str(name): str(value) for name, value in environment.host.items()}
    return html.facts({"commit": commit, "started": environment.started_at, **host})


# ---- command


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report", description="One HTML page about load measurements."
    )
    parser.add_argument("measured", type=Path, nargs="+", help="JSON files")
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"))
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; a mistake is one line and status 2."""
    given = _arguments(words)
    try:
        if len(given.measured) > FILES_MAX:
            raise UsageError(f"{len(given.measured)} files are more than {FILES_MAX}")
        text = page([measurement.load(path) for path in given.measured])
        given.output.write_text(text)
    except LabError as error:
        return _fail(str(error), error.exit_code)
    except OSError as error:
        return _fail(f"{given.output}: {error.strerror}", 1)
    sys.stdout.write(f"{given.output}\n")
    return 0


def _fail(line: str, status: int) -> int:
    sys.stderr.write(f"report: {line}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())

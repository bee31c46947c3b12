"""The report of a published run: one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from infra.evidence import curves, html, plots
from infra.evidence.figures import quantile, shown, summarise
from infra.evidence.results import ClaimResult, Evidence
from infra.evidence.screen import figure
from infra.evidence.tables import provenance
from infra.evidence.verdict import Role, Run


def page(evidence: Evidence) -> str:
    """The whole document. It is made from the results alone, so it is always the same for them."""
    week = int(evidence.week[-2:])
    sections = "\n".join(_section(one) for one in evidence.claims)
    body = f"""<p>Each claim ran <span class="claim">with its mechanism</span>, where one judge
had to pass, and <span class="control">without it</span>, where the same judge had to fail.</p>
<p class="dim">{escape(provenance(evidence))}</p>
{_overview(evidence)}
{sections}
<h2>Where</h2>
{_where(evidence)}"""
    return html.document(f"Week {week}: what was measured", body, plots.STYLE + curves.STYLE)


def _overview(evidence: Evidence) -> str:
    heads = ("claim", "says", "measured", "without it", "rows", "verdict")
    rows = [
        (
            f'<a href="#{escape(one.id)}"><code>{escape(one.id)}</code></a>',
            escape(one.says),
            f'<span class="claim">{escape(figure(one, Role.PASS, unit=True))}</span>',
            f'<span class="control">{escape(figure(one, Role.CONTROL, unit=True))}</span>',
            ", ".join(map(str, one.rows)),
            escape(one.state),
        )
        for one in evidence.claims
    ]
    return html.cards(heads, rows)


def _section(one: ClaimResult) -> str:
    figures = [run.figures for run in one.runs if run.figures]
    headline = figures[0].headline if figures else ""
    seeds = sorted({run.seed for run in one.runs})
    attempts = sum(found.attempts for found in figures)
    drawn = plots.plot(one, headline)
    return f"""<section id="{escape(one.id)}">
<h2>{escape(one.says)}</h2>
<p class="dim"><code>{escape(one.id)}</code>, mechanism: {escape(one.mechanism)};
{len(one.runs)} runs, {attempts:,} attempts, seed{"s" * (len(seeds) != 1)}
{", ".join(map(str, seeds))}; {one.seconds:.0f} s.
<a href="{escape(one.id)}.json">Raw samples</a></p>
<figure>{drawn}</figure>
{_by_load(one)}
{_series(one)}
{_notes(one.runs)}
{_refuted(one)}
</section>"""


def _by_load(one: ClaimResult) -> str:
    drawn = curves.curves(one)
    return f"<figure>{drawn}</figure>" if drawn else ""


def _series(one: ClaimResult) -> str:
    """A table for each series, its runs side by side."""
    figures = [run.figures for run in one.runs if run.figures]
    names = dict.fromkeys(name for found in figures for name in found.samples)
    headline = figures[0].headline if figures else ""
    return "".join(
        _numbers(one, name, f"{name} ({one.unit})" if name == headline else name) for name in names
    )


def _numbers(one: ClaimResult, name: str, caption: str) -> str:
    heads = ("run", "samples", "lowest", "median", "p99", "highest")
    rows = []
    for role, step in ((kind, step) for kind in Role for step in one.steps(kind)):
        if not (samples := one.samples(step, name)):
            continue
        middle = (summarise(samples, "median"), quantile(samples, 0.99))
        numbers = (len(samples), min(samples), *middle, max(samples))
        first = f'<span class="{role}">{escape(step)}</span>'
        rows.append((first, *map(shown, numbers)))
    return html.numbers(caption, heads, rows)


def _notes(runs: Iterable[Run]) -> str:
    """Each note once, with the steps it is of."""
    steps: dict[str, dict[str, None]] = {}
    for run in runs:
        for note in run.figures.notes if run.figures else ():
            steps.setdefault(note, {})[run.step] = None
    items = "".join(
        f"<li>{escape(note)} <span class=dim>({escape(', '.join(of))})</span></li>"
        for note, of in steps.items()
    )
    return f"<ul>{items}</ul>" if items else ""


def _refuted(one: ClaimResult) -> str:
    """What the judge said of the controls."""
    told = dict.fromkeys(
        (run.step, run.judgement.text)
        for run in one.runs
        if run.role is Role.CONTROL and run.judgement
    )
    first = {step: text for step, text in reversed(told)}
    lines = "".join(
        f'<p class="dim">Judged <span class="control">{escape(step)}</span>: '
        f"<code>{escape(first[step])}</code></p>"
        for step in one.steps(Role.CONTROL)
        if step in first
    )
    return lines


def _where(evidence: Evidence) -> str:
    facts = {
        "commit": evidence.commit,
        "started": evidence.started_at,
        "took": f"{evidence.wall_s:.0f} s",
        **{str(name): str(value) for name, value in evidence.host.items()},
        **evidence.servers,
    }
    return html.facts(facts)

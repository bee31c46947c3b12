"""The report of a published run: one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from infra.evidence import plots
from infra.evidence.figures import quantile, shown, summarise
from infra.evidence.results import ClaimResult, Evidence
from infra.evidence.screen import figure
from infra.evidence.tables import provenance
from infra.evidence.verdict import Role, Run

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --dim: #5b6470; --rule: #d9dee4;
  --claim: #0b6e4f; --control: #b4491f; --card: #f6f8fa; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --ink: #e6e9ed; --dim: #9aa4b0;
  --rule: #333a43; --claim: #4fc79a; --control: #f0935f; --card: #1c2026; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 62rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 2.5rem 0 .25rem; }
p { margin: .25rem 0 .75rem; } .dim { color: var(--dim); }
code { font-size: .9em; } a { color: inherit; }
table { border-collapse: collapse; width: 100%; margin: .75rem 0; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .75rem .4rem 0;
  border-bottom: 1px solid var(--rule); }
th { color: var(--dim); font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.claim { color: var(--claim); } .control { color: var(--control); }
.wide { overflow-x: auto; } caption { text-align: left; color: var(--dim); }
.numbers { max-width: 36rem; }
figure { margin: .75rem 0; padding: .75rem; background: var(--card); border-radius: .5rem;
  max-width: 36rem; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--dim); }
svg .label { fill: currentColor; stroke: var(--card); stroke-width: 4px;
  paint-order: stroke; }
svg .end { text-anchor: end; } svg .tick { text-anchor: middle; }
svg .axis, svg .grid { stroke: var(--rule); } svg .median, svg .range { stroke: currentColor; }
svg .median { stroke-width: 2.5; } svg .dot { fill: currentColor; fill-opacity: .45; }
svg .box { fill: currentColor; fill-opacity: .35; }
@media (max-width: 40rem) {
  .cards thead { display: none; } .cards tr { display: block; padding: .5rem 0;
    border-bottom: 1px solid var(--rule); }
  .cards td { display: grid; grid-template-columns: 7rem 1fr; border: 0; padding: .1rem 0; }
  .numbers th, .numbers td { padding-right: .4rem; font-size: .85rem; }
  .cards td::before { content: attr(data-label); color: var(--dim); } }
"""


def page(evidence: Evidence) -> str:
    """The whole document. It is made from the results alone, so it is always the same for them."""
    week = int(evidence.week[-2:])
    sections = "\n".join(_section(one) for one in evidence.claims)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Week {week}: what was measured</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Week {week}: what was measured</h1>
<p>Each claim ran <span class="claim">with its mechanism</span>, where one judge had to pass, and
<span class="control">without it</span>, where the same judge had to fail.</p>
<p class="dim">{escape(provenance(evidence))}</p>
{_overview(evidence)}
{sections}
<h2>Where</h2>
{_where(evidence)}
</body>
</html>
"""


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
    # Of the label and the value a card makes two columns, so the value has to be one element.
    body = "".join(
        "<tr>"
        + "".join(
            f'<td data-label="{head}"><span>{cell}</span></td>'
            for head, cell in zip(heads, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f'<table class="cards">{_head(heads)}<tbody>{body}</tbody></table>'


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
{_series(one)}
{_notes(one.runs)}
{_refuted(one)}
</section>"""


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
        cells = "".join(f'<td class="number">{shown(number)}</td>' for number in numbers)
        rows.append(f'<tr><td class="{role}">{escape(step)}</td>{cells}</tr>')
    return (
        f'<div class="wide"><table class="numbers"><caption>{escape(caption)}</caption>'
        f"{_head(heads, 1)}<tbody>{''.join(rows)}</tbody></table></div>"
    )


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
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts.items()
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _head(heads: Iterable[str], words: int | None = None) -> str:
    """A table's head; columns after the first `words` are of numbers."""
    cells = "".join(
        f'<th class="number">{head}</th>'
        if words is not None and at >= words
        else f"<th>{head}</th>"
        for at, head in enumerate(heads)
    )
    return f"<thead><tr>{cells}</tr></thead>"

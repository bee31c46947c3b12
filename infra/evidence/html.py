"""What the HTML reports share: one style, the page around it, and tables that fit a phone. Pure.

A page needs nothing but itself: no script, no font, no picture from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

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
@media (max-width: 40rem) {
  td { overflow-wrap: anywhere; }
  .cards thead { display: none; } .cards tr { display: block; padding: .5rem 0;
    border-bottom: 1px solid var(--rule); }
  .cards td { display: grid; grid-template-columns: 7rem 1fr; border: 0; padding: .1rem 0; }
  .numbers th, .numbers td { padding-right: .4rem; font-size: .85rem; }
  .cards td::before { content: attr(data-label); color: var(--dim); } }
"""


def document(title: str, body: str, style: str = "") -> str:
    """The whole page; `title` is plain text and its heading, `style` is added to the common one."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}{style}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{body}
</body>
</html>
"""


def cards(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of HTML cells, each row of which becomes a card on a phone."""
    # Of the label and the value a card makes two columns, so the value has to be one element.
    body = "".join(
        "<tr>"
        + "".join(
            f'<td data-label="{escape(name)}"><span>{cell}</span></td>'
            for name, cell in zip(heads, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f'<table class="cards">{_head(heads)}<tbody>{body}</tbody></table>'


def numbers(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of HTML cells: one column of words, and further ones of numbers."""
    body = "".join(
        f"<tr><td>{first}</td>"
        + "".join(f'<td class="number">{cell}</td>' for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f'<div class="wide"><table class="numbers"><caption>{escape(caption)}</caption>'
        f"{_head(heads, 1)}<tbody>{body}</tbody></table></div>"
    )


def facts(named: Mapping[str, str]) -> str:
    """Plain names and values, one a row."""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in named.items()
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _head(heads: Iterable[str], words: int | None = None) -> str:
    """A table's head; columns after the first `words` are of numbers."""
    cells = "".join(
        f'<th class="number">{escape(head)}</th>'
        if words is not None and at >= words
        else f"<th>{escape(head)}</th>"
        for at, head in enumerate(heads)
    )
    return f"<thead><tr>{cells}</tr></thead>"

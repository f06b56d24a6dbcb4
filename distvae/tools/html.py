"""A page of HTML in one file: no network, and readable on a phone."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

from distvae.text import is_right, printable

LEFT = ' style="text-align:left"'
"""Of a cell: pages and notebooks have theirs at the right."""

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
* { box-sizing: border-box; }
html { background: Canvas; color: CanvasText; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; margin: 0.5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 0.3rem; border-top: 1px solid var(--line);
  padding-top: 1rem; }
p { margin: 0.3rem 0; max-width: 46rem; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: 0 1rem; margin: 0.8rem 0; }
nav a { padding: 0.5rem 0; }
img { display: block; max-width: 100%; height: auto; margin: 0.6rem 0; border-radius: 4px; }
.scroll { overflow-x: auto; margin: 0.6rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.95rem; }
td, th { padding: 0.25rem 0.8rem 0.25rem 0; text-align: right; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; min-width: 5rem; }
td:first-child, th:first-child { text-align: left; }
pre { overflow-x: auto; background: var(--soft); padding: 0.8rem; border-radius: 4px; }
summary { cursor: pointer; padding: 0.6rem 0; }
"""


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    about: str
    body: str
    """HTML."""
    lines: Sequence[str] = field(default_factory=tuple)
    """Text below it."""


def page(title: str, about: str, sections: Sequence[Section]) -> str:
    """The whole page."""
    links = "".join(f'<a href="#s{i}">{_text(one.title)}</a>' for i, one in enumerate(sections))
    parts = "\n".join(_section(number, one) for number, one in enumerate(sections))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{_text(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{_text(title)}</h1>
<p>{_text(about)}</p>
</header>
<nav aria-label="sections">{links}</nav>
<main>
{parts}
</main>
</body>
</html>
"""


def _section(number: int, section: Section) -> str:
    lines = "".join(f"<p>{_text(line)}</p>" for line in section.lines)
    above = f"<h2>{_text(section.title)}</h2><p>{_text(section.about)}</p>"
    return f'<section id="s{number}">{above}{section.body}{lines}</section>'


def picture(png: bytes, name: str) -> str:
    """A PNG inside the page."""
    content = base64.b64encode(png).decode()
    return f'<img alt="{escape(name)}" src="data:image/png;base64,{content}">'


def rows_as_table(rows: Iterable[Sequence[str]], header: bool = False) -> str:
    """A table, whose first row may be the header; a wide one scrolls by itself."""
    cells = [[printable(cell) for cell in row] for row in rows]
    count = 1 if header else 0
    inner = table(cells[count:], *cells[:count])
    return f'<div class="scroll" tabindex="0" role="group" aria-label="table">{inner}</div>'


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    """Rows of text as a table, below a header if there is one; numbers stand at the right."""
    width = max(map(len, rows), default=0)
    columns = [[row[place] for row in rows if place < len(row)] for place in range(width)]
    sides = ["" if is_right(column) else LEFT for column in columns]

    def line(kind: str, cells: Sequence[str]) -> str:
        written = zip(cells, [*sides, *[""] * len(cells)], strict=False)
        return "".join(f"<{kind}{side}>{escape(cell)}</{kind}>" for cell, side in written)

    lines = [line("th", header)] if header else []
    lines += [line("td", row) for row in rows]
    return f"<table>{''.join(f'<tr>{each}</tr>' for each in lines)}</table>"


def preformatted(text: str) -> str:
    """Text as it stands."""
    return f'<pre tabindex="0">{escape(text)}</pre>'


def _text(text: str) -> str:
    return escape(printable(text))

"""The report as one file of HTML: no script, nothing from outside, readable on a phone and on paper."""

from __future__ import annotations

import base64
import io
from typing import Any

from napari_segxai.analyses.cohort.report.parts import Picture, Report, written
from napari_segxai.core.extras import need
from napari_segxai.figures.style import write_figure

SHOWN = 60
"""Rows of a table that a page shows."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{{ report.title }}</title>
<style>
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.25rem; margin-top: 2.2rem; border-bottom: 2px solid #0072b2; }
h1, h2, p, li, figcaption { overflow-wrap: anywhere; } td, th { overflow-wrap: break-word; }
nav ul { columns: 14rem; padding-left: 1.2rem; } a { color: #005a8f; }
.caveats { border-left: 4px solid #d55e00; background: #fdf3ec; padding: .4rem .8rem; } .caveats ul { margin: 0; padding-left: 1.2rem; }
.scroll { overflow-x: auto; margin: 1rem 0; } table { border-collapse: collapse; font-size: .85rem; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ccc; text-align: left; vertical-align: top; max-width: 28rem; }
th { border-bottom: 2px solid #555; } td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 1.2rem 0; } figure img { max-width: 100%; height: auto; } figcaption { font-size: .85rem; color: #333; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem 2rem; } .charts figure { flex: 1 1 20rem; max-width: 30rem; margin: 0; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f4f4f4; padding: .8rem; font-size: .8rem; }
@media print { @page { size: A4; margin: 18mm; } body { font-size: 10pt; max-width: none; padding: 0; } nav { display: none; }
  .scroll { overflow: visible; } figure, tr, .caveats { break-inside: avoid; } h2 { break-after: avoid; } table { font-size: 6.5pt; } td, th { padding: .1rem .25rem; max-width: 9rem; overflow-wrap: anywhere; } }
</style>
</head>
<body>
<header><h1 dir="auto">{{ report.title }}</h1><p dir="auto">{{ report.subtitle }}</p></header>
<nav aria-label="Sections"><ul>
{% for section in report.sections %}<li><a href="#s{{ loop.index }}">{{ section.title }}</a></li>
{% endfor %}<li><a href="#references">References</a></li></ul></nav>
<main>
{% for section in report.sections %}<section aria-labelledby="s{{ loop.index }}">
<h2 id="s{{ loop.index }}" dir="auto">{{ section.title }}</h2>
{% for line in section.text %}<p dir="auto">{{ line }}</p>
{% endfor %}{% if section.caveats %}<div class="caveats" role="note"><strong>What speaks against it</strong><ul>
{% for line in section.caveats %}<li dir="auto">{{ line }}</li>
{% endfor %}</ul></div>
{% endif %}{% for kind, own in [('charts', section.charts), ('pictures', section.photographs)] if own %}<div class="{{ kind }}">
{% for picture in own %}<figure><img src="{{ data_of(picture) }}" alt="{{ picture.alt }}">
<figcaption dir="auto">{{ picture.caption }}</figcaption></figure>
{% endfor %}</div>
{% endfor %}{% for table in section.tables if not table.hidden %}<div class="scroll" role="region" aria-label="{{ table.title }}" tabindex="0"><table>
<caption dir="auto">{{ table.title }}</caption>
<thead><tr>{% for head in table.heads %}<th scope="col" dir="auto">{{ head }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows[:shown] %}<tr>{% for cell in row %}<td dir="auto"{% if cell is number and cell is not boolean %} class="number"{% endif %}>{{ written(cell) }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table>
{% if table.rows|length > shown %}<p>and {{ table.rows|length - shown }} more rows.</p>{% endif %}</div>
{% endfor %}{% if section.code %}<pre><code>{{ section.code }}</code></pre>
{% endif %}</section>
{% endfor %}<section aria-labelledby="references"><h2 id="references">References</h2>
<p>What was used, as BibTeX.</p>
<pre><code>{{ report.bibtex }}</code></pre></section>
</main>
</body>
</html>
"""


def html_of(report: Report) -> str:
    """Return the report as the text of one file.

    Raises
    ------
    UserError
        If jinja2 is not installed.
    """
    jinja2: Any = need("jinja2", "cohort", "the report as HTML")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(PAGE).render(report=report, shown=SHOWN, written=written, data_of=_data_of)


def _data_of(picture: Picture) -> str:
    """Return a picture as the address of its own bytes: each is a file of its own, so that their ids do not meet."""
    held = io.BytesIO()
    kind = "svg" if picture.vector else "png"
    write_figure(picture.draw(), held, kind, 300 if picture.vector else 200)
    mime = {"svg": "image/svg+xml", "png": "image/png"}[kind]
    return f"data:{mime};base64,{base64.b64encode(held.getvalue()).decode('ascii')}"

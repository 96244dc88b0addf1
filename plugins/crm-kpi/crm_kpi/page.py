"""The report as one HTML file: styles and charts inside, no script and no network, good in print and in the dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from crm_kpi.charts import bars, columns
from crm_kpi.report import Report

_STYLE: Final = """
:root{color-scheme:light dark;--page:#f4f5f8;--card:#fff;--text:#1a1f2b;--soft:#636b7c;--line:#e3e6ec;--accent:#3f5fd6;
--track:#eceff5;--good:#14804a;--bad:#b8322a}
@media (prefers-color-scheme:dark){:root{--page:#12141a;--card:#1b1e27;--text:#e8eaf0;--soft:#9aa2b3;--line:#2c313d;
--accent:#7f9bff;--track:#272c38;--good:#5bd08f;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans","Noto Naskh Arabic","Noto Sans Armenian",sans-serif}
main{max-width:1000px;margin:0 auto;padding:36px 20px 60px}
header{display:flex;flex-wrap:wrap;align-items:baseline;gap:4px 16px;margin-bottom:20px}
h1{font-size:30px;line-height:1.2;margin:0;letter-spacing:-.02em}
header p{margin:0;color:var(--soft)}
header .period{font-weight:600;color:var(--accent)}
header .made{margin-inline-start:auto;font-size:13px}
section{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:20px 22px 18px;margin:0 0 18px}
h2{font-size:17px;margin:0 0 14px;letter-spacing:-.01em}
h3{font-size:13px;margin:0 0 4px;color:var(--soft);font-weight:600}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(178px,1fr));gap:12px}
.tile{background:var(--page);border-radius:10px;padding:12px 14px;min-width:0}
.tile .name{color:var(--soft);font-size:13px;overflow-wrap:anywhere}
.tile .value{font-size:21px;font-weight:650;letter-spacing:-.015em;
font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.tile small{font-size:12.5px;font-weight:500;color:var(--soft);letter-spacing:0}
.tile .detail{font-size:12.5px;color:var(--soft);min-height:1.4em}
.better b{color:var(--good)}.worse b{color:var(--bad)}
.tile b{font-weight:650}
svg.columns{width:100%;height:auto;display:block;margin-bottom:6px}
svg .bar{fill:var(--accent)}svg .track{fill:var(--track)}
svg .grid{stroke:var(--line)}svg .zero{stroke:var(--soft)}
svg .axis{fill:var(--soft);font-size:11.5px;font-variant-numeric:tabular-nums}
.bars{display:grid;grid-template-columns:minmax(80px,max-content) 1fr max-content;gap:8px 16px;
margin:0 0 14px;align-items:center}
.bars dt{max-width:260px;overflow-wrap:anywhere;text-align:left}
.bars dd{display:contents}
.bars span{font-variant-numeric:tabular-nums;white-space:nowrap;color:var(--soft);font-size:13.5px}
.hbar{width:100%;height:12px;border-radius:6px;display:block}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:start;padding:7px 10px 7px 0;border-bottom:1px solid var(--line);white-space:nowrap}
tr:last-child td{border-bottom:0}
th{color:var(--soft);font-size:13px;font-weight:600}
th.n,td.n{text-align:end}
.notes{margin:12px 0 0;padding-inline-start:18px;color:var(--soft);font-size:13px}
footer{color:var(--soft);font-size:13px;text-align:center}
@media print{:root{--page:#fff;--card:#fff;--text:#000;--soft:#444;--line:#ccc;--track:#eee;
--accent:#3f5fd6;color-scheme:light}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}main{padding:0;max-width:none}
section,.tile{break-inside:avoid}.tile{border:1px solid var(--line)}}
""".strip()


def render_page(report: Report, *, language: str = "en") -> str:
    """Return the whole HTML document of a report."""
    title = escape(f"{report.title}: {report.period}")
    sections = "".join(_section(name, heading, data) for name, heading, data in report.sections)
    return (
        f'<!DOCTYPE html>\n<html lang="{escape(language, quote=True)}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n<main>\n"
        f'<header><h1 dir="auto">{escape(report.title)}</h1><p class="period">{escape(report.period)}</p>'
        f'<p class="made">as of {report.made_at:%Y-%m-%d %H:%M}</p></header>\n'
        f"{sections}<footer>Made by crm report. Every number explains itself: crm metrics explain NAME</footer>\n"
        "</main>\n</body>\n</html>\n"
    )


def _section(name: str, heading: str, data: Mapping[str, Any]) -> str:
    parts = [f'<section id="{escape(name, quote=True)}">\n<h2>{escape(heading)}</h2>\n']
    if data.get("tiles"):
        parts.append('<div class="tiles">' + "".join(map(_tile, data["tiles"])) + "</div>\n")
    charts = data.get("charts", ())
    for chart in charts:
        if len(charts) > 1 and chart.get("title"):
            parts.append(f"<h3>{escape(chart['title'])}</h3>\n")
        parts.append(_chart(heading, chart) + "\n")
    if data.get("table"):
        parts.append(_table(data["table"]["columns"], data["table"]["rows"]) + "\n")
    if data.get("notes"):
        notes = "".join(f'<li dir="auto">{escape(note)}</li>' for note in data["notes"])
        parts.append(f'<ul class="notes">{notes}</ul>\n')
    return "".join([*parts, "</section>\n"])


def _tile(tile: Mapping[str, str]) -> str:
    trend = tile.get("trend", "")
    arrow = ""
    if trend:
        rises = tile.get("detail", "").startswith("+")
        arrow = f"<b>{'▲' if rises else '▼'}</b> "
    detail = f'<div class="detail {escape(trend, quote=True)}">{arrow}{escape(tile.get("detail", ""))}</div>'
    name = f'<div class="name" dir="auto">{escape(tile["label"])}</div>'
    figure, _, unit = tile["text"].partition(" ")
    unit = f" <small>{escape(unit)}</small>" if unit else ""
    return f'<div class="tile">{name}<div class="value">{escape(figure)}{unit}</div>{detail}</div>'


def _chart(heading: str, chart: Mapping[str, Any]) -> str:
    if chart["kind"] == "columns":
        return columns(chart["labels"], chart["values"], chart["texts"], title=heading)
    return bars(chart["labels"], chart["values"], chart["texts"], title=heading, full=chart.get("full"))


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    texts = [[str(cell) for cell in row] for row in rows]
    numeric = [bool(texts) and all(row[at][:1] in "-+.0123456789" for row in texts) for at in range(len(head))]

    def line(tag: str, cells: Sequence[str]) -> str:
        kinds = ('class="n"' if number else 'dir="auto"' for number in numeric)
        shown = (f"<{tag} {kind}>{escape(cell)}</{tag}>" for cell, kind in zip(cells, kinds, strict=True))
        return f"<tr>{''.join(shown)}</tr>"

    body = "".join(line("td", row) for row in texts)
    return f'<div class="scroll"><table><thead>{line("th", head)}</thead><tbody>{body}</tbody></table></div>'

"""Charts as SVG text: columns over time and bars side by side. No script, no network; colours come from the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import floor, log10
from typing import Final

_WIDTH: Final = 760
_HEIGHT: Final = 250
_LEFT: Final = 58
_BOTTOM: Final = 34
_TOP: Final = 12
_LABEL_WIDTH: Final = 58


def columns(labels: Sequence[str], values: Sequence[float], texts: Sequence[str], *, title: str) -> str:
    """Return a chart of one column per label; hovering a column shows its text.

    Args:
        labels: what stands below each column; where there is no room for all, some are left out.
        values: the heights; negative ones hang below the zero line.
        texts: the exact values, for the tooltips.
        title: the chart's name for screen readers.
    """
    low, high = min([0.0, *values]), max([0.0, *values])
    high = high if high > low else 1.0
    ticks = list(_ticks(low, high))
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    plot_height, plot_width = _HEIGHT - _TOP - _BOTTOM, _WIDTH - _LEFT
    scale = plot_height / (high - low)
    zero = _TOP + high * scale
    step = plot_width / max(len(values), 1)
    parts = [
        f'<svg class="columns" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">'
    ]
    for tick in ticks:
        y = zero - tick * scale
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="axis" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{short(tick)}</text>')
    bar = min(step * 0.72, 46)
    for at, (value, text) in enumerate(zip(values, texts, strict=True)):
        x, height = _LEFT + at * step + (step - bar) / 2, abs(value) * scale
        y = zero - height if value >= 0 else zero
        tip = f"<title>{escape(labels[at])}: {escape(text)}</title>"
        radius = min(3.0, height / 2)
        size = f'width="{bar:.1f}" height="{max(height, 0.5):.1f}" rx="{radius:.1f}"'
        parts.append(f'<rect class="bar" x="{x:.1f}" y="{y:.1f}" {size}>{tip}</rect>')
    parts.append(f'<line class="zero" x1="{_LEFT}" x2="{_WIDTH}" y1="{zero:.1f}" y2="{zero:.1f}"/>')
    every = max(1, -(-_LABEL_WIDTH // max(int(step), 1)))
    for at in range(0, len(labels), every):
        x = _LEFT + (at + 0.5) * step
        parts.append(
            f'<text class="axis" x="{x:.1f}" y="{_HEIGHT - 12}" text-anchor="middle">{escape(labels[at])}</text>'
        )
    return "".join([*parts, "</svg>"])


def bars(
    labels: Sequence[str], values: Sequence[float], texts: Sequence[str], *, title: str, full: float | None = None
) -> str:
    """Return rows of label, bar and text; the labels are HTML, so that names in any script run in their own direction.

    `full` is the value of a bar of full length, by default the largest value.
    """
    longest = full or max([0.0, *values]) or 1.0
    rows = []
    for label, value, text in zip(labels, values, texts, strict=True):
        width = max(value, 0.0) / longest * 100
        bar = (
            '<svg class="hbar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
            '<rect class="track" width="100" height="10"/>'
            f'<rect class="bar" width="{width:.2f}" height="10"/></svg>'
        )
        rows.append(f'<dt dir="auto">{escape(label)}</dt><dd>{bar}<span>{escape(text)}</span></dd>')
    return f'<dl class="bars" aria-label="{escape(title, quote=True)}">{"".join(rows)}</dl>'


def short(value: float) -> str:
    """Write a tick of an axis shortly.

    >>> short(1_250_000), short(40_000), short(0.5), short(0)
    ('1.25M', '40k', '0.5', '0')
    """
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def _ticks(low: float, high: float) -> Iterator[float]:
    """Yield round values from at or below `low` to at or above `high`, about four steps apart."""
    span = (high - low) or 1.0
    raw = span / 4
    power = 10.0 ** floor(log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw)
    at = floor(low / step)
    while True:
        yield at * step
        if at * step >= high:
            return
        at += 1

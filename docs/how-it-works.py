#!/usr/bin/env python3
"""Draws docs/how-it-works.svg. Run it after a change: python3 docs/how-it-works.py

Standard library only. Positions are in pixels; every box and arrow is one line below.
"""

from pathlib import Path

WIDTH, HEIGHT = 810, 420
INK, SOFT, LINE = "#1f2937", "#4b5563", "#64748b"
FILLS = {
    "call": "#dbeafe",
    "memory": "#fef3c7",
    "log": "#dcfce7",
    "derived": "#f3e8ff",
}

parts: list[str] = []


def box(x, y, w, h, kind, title, *lines):
    parts.append(
        f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="6" fill="{FILLS[kind]}" stroke="{LINE}"/>'
    )
    rows = 1 + len(lines)
    top = y + h / 2 - (rows - 1) * 8 + 5
    parts.append(
        f'<text x="{x + w / 2}" y="{top}" class="title">{title}</text>'
    )
    for row, line in enumerate(lines, start=1):
        parts.append(
            f'<text x="{x + w / 2}" y="{top + row * 16}" class="line">{line}</text>'
        )


def arrow(points, label="", at=None):
    path = " ".join(f"{x},{y}" for x, y in points)
    parts.append(f'<polyline points="{path}" class="arrow"/>')
    if label:
        x, y = at
        parts.append(f'<text x="{x}" y="{y}" class="label">{label}</text>')


def heading(x, y, text):
    parts.append(f'<text x="{x}" y="{y}" class="heading">{text}</text>')


heading(20, 30, "write")
box(20, 45, 150, 60, "call", "append, commit", "many threads")
box(230, 45, 190, 60, "memory", "check and encode", "versions, ids, boundaries")
box(480, 45, 170, 60, "memory", "group buffer", "one write, one fdatasync")
arrow([(170, 75), (228, 75)])
arrow([(420, 75), (478, 75)])
arrow([(565, 105), (565, 168)], "group commit", (610, 142))

heading(20, 160, "log: one frame is one commit; never rewritten")
box(20, 170, 140, 60, "log", "segment 1", "sealed")
box(170, 170, 140, 60, "log", "segment 2", "sealed")
box(320, 170, 140, 60, "log", "segment 3", "sealed")
box(480, 170, 170, 60, "log", "segment 4", "active")
box(670, 170, 120, 60, "log", "segment 5", "prepared")

heading(20, 354, "derived: disposable; indexes and checkpoints are rebuilt from the log")
box(20, 280, 290, 50, "derived", "level file", "index of segments 1 and 2")
box(320, 280, 140, 50, "derived", "index file", "segment 3")
box(480, 280, 170, 50, "derived", "checkpoint", "stream heads, cursors")
box(670, 280, 120, 50, "derived", "snapshots", "callers' states")
arrow([(90, 230), (90, 278)])
arrow([(240, 230), (240, 278)])
arrow([(390, 230), (390, 278)])
arrow([(565, 230), (565, 278)])

heading(20, 390, "read")
parts.append(
    f'<text x="70" y="390" class="line" style="text-anchor:start">'
    "look up the place in memory or in an index, verify the checksum, lend the bytes from the memory mapping;</text>"
)
parts.append(
    f'<text x="70" y="407" class="line" style="text-anchor:start">'
    "other processes read beside the writer, up to the durable position; subscriptions catch up and then wait</text>"
)

style = f"""
text {{ font-family: Helvetica, Arial, sans-serif; fill: {INK}; }}
.title {{ font-size: 14px; font-weight: bold; text-anchor: middle; }}
.line {{ font-size: 12px; fill: {SOFT}; text-anchor: middle; }}
.label {{ font-size: 12px; fill: {SOFT}; text-anchor: middle; }}
.heading {{ font-size: 13px; font-style: italic; fill: {SOFT}; }}
.arrow {{ fill: none; stroke: {LINE}; stroke-width: 1.5; marker-end: url(#head); }}
"""
svg = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"
 aria-label="The path of an append and of a read through annals">
<style>{style}</style>
<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0,0 L10,5 L0,10 z" fill="{LINE}"/></marker></defs>
<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>
{chr(10).join(parts)}
</svg>
"""
Path(__file__).with_suffix(".svg").write_text(svg, encoding="utf-8")

"""Draw results: `plot.py RESULTS.json PICTURE.png [--short]`, with the Python of `.cache/bench/venv`.

A panel for each work, or with `--short` for each that the README shows. In it a bar for each server: its cost, in
Telex's.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Patch

SHORT = [
    "websocket-echo",
    "websocket-broadcast",
    "socketio-echo",
    "socketio-broadcast",
    "socketio-connect",
    "polling-echo",
]

INK, FAINT, GRID = "#1f2933", "#616e7c", "#e4e7eb"
COLOURS = {"Telex": "#0b7285", "Python": "#9fb3c8", "Node.js": "#8fbf7f", "C, no protocol": "#d9a441"}
N_COLUMNS = 2
PANEL_WIDTH = 5.9
BAR_HEIGHT = 0.27
PANEL_HEAD = 0.6
HEAD, FOOT = 0.85, 0.65
SUBTITLE = "server CPU, or memory, per message or connection; shorter is better; absolute figures on the right"
ROOM = 1.45
"""How many times the longest bar a panel is wide: both figures stand to its right."""

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "ytick.color": INK,
    "xtick.color": FAINT,
    "axes.edgecolor": GRID,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}


def family(server: str) -> str:
    """Return which of COLOURS a server has."""
    for prefix, name in (("telex", "Telex"), ("node", "Node.js"), ("c-", "C, no protocol")):
        if server.startswith(prefix):
            return name
    return "Python"


def describe(value: float, unit: str) -> str:
    """Return a cost for a reader."""
    if unit.startswith("bytes"):
        return f"{value / 1024:.1f} KiB"
    return f"{value:.1f} µs" if value < 100 else f"{value:,.0f} µs"  # noqa: PLR2004


def times(ratio: float) -> str:
    """Return a ratio for a reader."""
    return (f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}") + "\N{MULTIPLICATION SIGN}"  # noqa: PLR2004


def draw_panel(axes: Axes, work: dict[str, Any]) -> None:
    """Draw one work."""
    rows = work["rows"]
    lengths = [row["of_telex"] for row in rows]
    longest = max(lengths)
    colours = [COLOURS[family(row["server"])] for row in rows]
    axes.barh(range(len(rows)), lengths, color=colours, height=0.72, zorder=2)
    axes.axvline(1, color=COLOURS["Telex"], linewidth=0.8, linestyle=(0, (3, 3)), zorder=3)
    for place, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        bold = "bold" if family(row["server"]) == "Telex" else "normal"
        axes.text(
            length + longest * 0.015,
            place,
            times(length),
            va="center",
            fontweight=bold,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            zorder=4,
        )
        axes.text(longest * ROOM, place, describe(row["figure"], work["unit"]), va="center", ha="right", color=FAINT)
    axes.set_yticks(range(len(rows)), [row["label"] for row in rows])
    axes.set_xlim(0, longest * ROOM)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_title(work["title"], loc="left", fontsize=10.5, fontweight="bold", pad=5)
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.spines["left"].set_visible(True)


def rows_of_panels(works: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    return [works[i : i + N_COLUMNS] for i in range(0, len(works), N_COLUMNS)]


def draw(found: dict[str, Any], names: list[str], path: Path) -> None:
    """Draw the named works, or all, and write the picture."""
    works = [work for work in found["works"] if not names or work["name"] in names]
    works = [{**work, "rows": [row for row in work["rows"] if row["of_telex"] is not None]} for work in works]
    works = [work for work in works if work["rows"]]
    if not works:
        sys.exit("there is nothing to draw: no work has a figure for Telex")
    lines = rows_of_panels(works)
    heights = [PANEL_HEAD + BAR_HEIGHT * max(len(work["rows"]) for work in line) for line in lines]
    width, height = PANEL_WIDTH * min(N_COLUMNS, len(works)), HEAD + sum(heights) + FOOT
    with mpl.rc_context(STYLE):
        figure = plt.figure(figsize=(width, height))
        top = height - HEAD
        for line, line_height in zip(lines, heights, strict=True):
            for column, work in enumerate(line):
                left = column * PANEL_WIDTH + 1.5
                bars = BAR_HEIGHT * len(work["rows"])
                panel = (left / width, (top - 0.34 - bars) / height, (PANEL_WIDTH - 1.8) / width, bars / height)
                draw_panel(figure.add_axes(panel), work)
            top -= line_height
        write_words(figure, found["about"], works, width, height)
        figure.savefig(path, dpi=160)
        plt.close(figure)


def write_words(figure: Any, about: dict[str, Any], works: list[dict[str, Any]], width: float, height: float) -> None:
    """Write the title, the legend, and what the figures depend on."""
    left = 0.25 / width
    figure.text(left, 1 - 0.36 / height, "Cost relative to Telex", fontsize=14, fontweight="bold")
    figure.text(left, 1 - 0.62 / height, SUBTITLE, color=FAINT)
    shown = {family(row["server"]) for work in works for row in work["rows"]}
    handles = [Patch(color=colour, label=name) for name, colour in COLOURS.items() if name in shown]
    figure.legend(
        handles=handles,
        loc="upper right",
        bbox_to_anchor=(1 - 0.2 / width, 1 - 0.14 / height),
        ncols=len(handles),
        frameon=False,
        handlelength=1,
        handleheight=1,
        columnspacing=1.4,
    )
    peers = about["peers"]
    versions = ", ".join(f"{name} {version}" for name, version in peers.items())
    rounds = f"Median of {about['rounds']} rounds" if about["rounds"] > 1 else "One round"
    compiled = "compiled" if about["telex_compiled_modules"] else "pure Python"
    figure.text(
        left,
        0.2 / height,
        f"{about['processor']}, CPython {about['python']}, Node.js {about['node'].lstrip('v')}. "
        f"Telex ({compiled}) on asyncio, Python peers on uvloop. {rounds}, {about['date'][:10]}.\n"
        f"{versions}",
        color=FAINT,
        fontsize=7.5,
        linespacing=1.5,
    )


if __name__ == "__main__":
    results, picture, *options = sys.argv[1:]
    draw(json.loads(Path(results).read_text()), SHORT if options == ["--short"] else [], Path(picture))

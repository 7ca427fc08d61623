"""What a run found: rows and bars as data, as a table, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from benchmarks.measure import Sample
from benchmarks.works import BARS, SERVERS, Bar, Unit, Work

FULL_MEMORY_CONNECTIONS = 10_000
"""Bars on memory are judged only here: with fewer, what a process has once weighs more."""

DISTURBED = 0.1
"""From this share of the server's core on, what else ran there is told: caches were shared with it."""


@dataclass(slots=True)
class Row:
    """One server in one work."""

    server: str
    samples: list[Sample] = field(default_factory=list)
    failure: str | None = None
    """Why there is no figure. One wrong answer makes the whole row worthless."""

    @property
    def label(self) -> str:
        return SERVERS[self.server].label

    @property
    def figure(self) -> float | None:
        """The median over rounds, in the work's unit."""
        if self.failure or not self.samples:
            return None
        return median(sample.figure for sample in self.samples)

    @property
    def per_second(self) -> float | None:
        rates = [sample.per_second for sample in self.samples if sample.per_second is not None]
        return median(rates) if rates else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar and what was measured."""

    bar: Bar
    measured: float
    is_met: bool

    @property
    def sentence(self) -> str:
        ours = SERVERS[self.bar.ours].label
        if self.bar.theirs is None:
            return f"{ours}: {self.measured:,.0f} bytes, at most {self.bar.at_most:,.0f} asked"
        theirs = SERVERS[self.bar.theirs].label
        if self.bar.at_least is not None:
            return f"{theirs} costs {self.measured:.2f}x {ours}, at least {self.bar.at_least:g}x asked"
        return f"{ours} costs {self.measured:.2f}x {theirs}, at most {self.bar.at_most:g}x asked"

    def __str__(self) -> str:
        return f"{'met' if self.is_met else 'NOT MET':7}  {self.sentence}"


@dataclass(slots=True)
class Result:
    """All rows of one work."""

    work: Work
    rows: list[Row]
    note: str = ""

    def row(self, server: str) -> Row | None:
        return next((row for row in self.rows if row.server == server), None)

    def figure(self, server: str) -> float | None:
        row = self.row(server)
        return row.figure if row else None

    @property
    def reference(self) -> float | None:
        """Telex's figure, which ratios refer to."""
        return self.figure(self.work.servers[0])

    def verdicts(self) -> list[Verdict]:
        """Judge the bars of this work whose servers were measured."""
        if self.work.unit == Unit.MEMORY and self.work.n_connections < FULL_MEMORY_CONNECTIONS:
            return []
        found = (_judge(bar, self) for bar in BARS if bar.work == self.work.name)
        return [verdict for verdict in found if verdict is not None]

    def table(self) -> str:
        """Return the rows and verdicts as text for a terminal."""
        lines = ["", f"{self.work.title}  ({self.work.name}; {self.work.n_connections:,} connections)"]
        if self.note:
            lines.append(f"  {self.note}")
        what = "connections/s" if self.work.unit == Unit.CONNECTION else "messages/s"
        has_rate = self.work.unit != Unit.MEMORY
        lines.append(
            f"  {'':20} {self.work.unit.value:>20} {'range':>15} {'of Telex':>9}"
            + (f" {what:>14} {'busy':>6}" if has_rate else "")
        )
        lines += [self._line(row, has_rate) for row in self.rows]
        lines += [f"    {verdict}" for verdict in self.verdicts()]
        return "\n".join(lines)

    def _line(self, row: Row, has_rate: bool) -> str:
        figure = row.figure
        if figure is None:
            return f"  {row.label:20} no figure: {row.failure or 'not measured'}"
        figures = [sample.figure for sample in row.samples]
        of_telex = f"{figure / self.reference:.2f}" if self.reference else ""
        digits = 0 if self.work.unit == Unit.MEMORY else 2
        spread = f"{min(figures):,.{digits}f}-{max(figures):,.{digits}f}"
        line = f"  {row.label:20} {figure:20,.{digits}f} {spread:>15} {of_telex:>9}"
        if has_rate:
            busy = median(sample.busy for sample in row.samples)
            line += f" {row.per_second or 0:14,.0f} {busy:6.0%}"
        disturbed = median(sample.disturbed for sample in row.samples)
        return line + (f"  disturbed {disturbed:.0%}" if disturbed > DISTURBED else "")


def _judge(bar: Bar, result: Result) -> Verdict | None:
    ours = result.figure(bar.ours)
    if not ours:
        return None
    if bar.theirs is None:
        measured = ours
    else:
        theirs = result.figure(bar.theirs)
        if not theirs:
            return None
        measured = theirs / ours if bar.at_least is not None else ours / theirs
    is_met = measured >= bar.at_least if bar.at_least is not None else measured <= (bar.at_most or 0)
    return Verdict(bar, measured, is_met)


def summary(results: Iterable[Result]) -> str:
    """Return how many bars were met, and which not."""
    verdicts = [(result.work, verdict) for result in results for verdict in result.verdicts()]
    if not verdicts:
        return "no bar was judged"
    missed = [f"  {work.title}: {verdict.sentence}" for work, verdict in verdicts if not verdict.is_met]
    head = f"{len(verdicts) - len(missed)} of {len(verdicts)} bars met"
    return "\n".join([head + ("; not met:" if missed else ""), *missed])


def to_json(results: Sequence[Result], about: dict[str, Any]) -> dict[str, Any]:
    """Return everything that was found, as plain containers."""
    return {"format": 1, "about": about, "works": [_work_to_json(result) for result in results]}


def _work_to_json(result: Result) -> dict[str, Any]:
    work, reference = result.work, result.reference
    return {
        "name": work.name,
        "title": work.title,
        "unit": work.unit.value,
        "n_connections": work.n_connections,
        "depth": work.depth,
        "n_bytes": work.n_bytes,
        "note": result.note,
        "rows": [
            {
                "server": row.server,
                "label": row.label,
                "figure": row.figure,
                "per_second": row.per_second,
                "of_telex": row.figure / reference if row.figure and reference else None,
                "failure": row.failure,
                "samples": [asdict(sample) for sample in row.samples],
            }
            for row in result.rows
        ],
        "bars": [
            {**asdict(verdict.bar), "measured": verdict.measured, "is_met": verdict.is_met}
            for verdict in result.verdicts()
        ],
    }

"""What the benchmarks print: tables, and targets that are reached or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Report:
    """Prints tables and targets, and remembers which targets were missed by more than noise may do."""

    missed: list[str] = field(default_factory=list)

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table; the first column is text, the others are figures."""
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        print(f"\n## {title}\n")
        for row in (head, ["-" * width for width in widths], *rows):
            figures = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            print("| " + " | ".join([row[0].ljust(widths[0]), *figures]) + " |")
        print()

    def target(self, what: str, figure: str, reached: bool, *, counts: bool | None = None) -> None:
        """Print a target with its figure.

        Args:
            what: the target in words.
            figure: what was found.
            reached: whether that is enough.
            counts: whether it counts as missed, if not simply because it was not reached.
        """
        print(f"target: {what}: {figure}: {'reached' if reached else 'NOT reached'}", flush=True)
        if not reached if counts is None else counts:
            self.missed.append(what)

    def unknown(self, what: str, why: str) -> None:
        """Print a target that this run cannot tell anything about."""
        print(f"target: {what}: not known: {why}", flush=True)

    def end(self) -> int:
        """Print what was missed; return the exit status."""
        if self.missed:
            print(f"\nmissed: {'; '.join(self.missed)}")
        return 1 if self.missed else 0

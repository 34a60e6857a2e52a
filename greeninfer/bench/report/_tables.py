"""The tables of a report, as plain text cells: every renderer shows the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from greeninfer.bench._candidates import Candidate, CascadeResult, Caveat
from greeninfer.bench._proxy import Proxy
from greeninfer.bench.report._facts import BASELINE, Facts, Group
from greeninfer.bench.report._numbers import JOULES_PER_WATT_HOUR, MISSING, between, percent, share, si, times

FRONT = "●"
_ANSWERS = 3
"""Cascades that the answer names; all of them stand in the tables."""


@dataclass(frozen=True, slots=True)
class Table:
    """Cells under headers; ``notes`` are numbered footnotes; the first ``words`` columns are text, the rest figures.

    ``above`` is what holds for all rows.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    words: int = 1
    above: tuple[str, ...] = ()


@dataclass(slots=True)
class _Notes:
    """Numbers caveats in the order in which they first occur; the same words keep their number."""

    told: dict[str, int]

    def marks(self, caveats: Sequence[Caveat], said: Sequence[str] = ()) -> str:
        new = [each.words for each in caveats if each.words not in said]
        numbers = [self.told.setdefault(words, len(self.told) + 1) for words in new]
        return ",".join(str(each) for each in sorted(set(numbers)))


def label(candidate: Candidate, group: Group) -> str:
    """Return the model's name, with device and batch size only where the group has more than one."""
    places = {(each.key.device, each.key.batch_size) for each in group.candidates}
    return candidate.key.model if len(places) == 1 else str(candidate.key)


def chain_label(chain: CascadeResult, group: Group) -> str:
    """Return a cascade's number and its stages."""
    return f"{group.number(chain)} {' → '.join(key.model for key in chain.stages)}"


def common(group: Group) -> tuple[str, ...]:
    """Return the caveats that hold for every model: they are said once, not at each row."""
    every = [{caveat.words for caveat in each.caveats} for each in group.models or group.candidates]
    first = (group.models or group.candidates)[0]
    held = set.intersection(*every) if len(every) > 1 else set()
    return tuple(each.words for each in first.caveats if each.words in held)


def answer_table(group: Group) -> Table | None:
    """Return the front at a glance: single models, then the cascades that bring most; None where there is none."""
    members = [each for each in group.models if each.on_front and each.joules]
    chains = group.best_cascades(_ANSWERS)
    if not members and not chains:
        return None
    least = group.least_joules
    both: list[tuple[str, Candidate | CascadeResult]] = [(label(each, group), each) for each in members]
    both += [(f"cascade {chain_label(each, group)}", each) for each in chains]
    rows = [
        (name, share(each.accuracy), between(each.joules, "J", 1000.0),
         times(each.joules.value / least) if each.joules and least else MISSING, si(each.seconds.value, "s"))
        for name, each in both
    ]  # fmt: skip
    headers = ("on the front", "accuracy", "J / 1,000 requests", "× least", "per request")
    return Table(f"The answer for {group.title}", headers, tuple(rows))


def main_table(group: Group, most: int | None = None) -> Table:
    """Return accuracy and cost of every candidate and of ``most`` cascades, the most frugal first; None for all."""
    notes, least, rows, said = _Notes({}), group.least_joules, [], common(group)
    handed = {f"{each.key.model}: {caveat.words}" for each in group.candidates for caveat in each.caveats}
    chains = group.cascades if most is None else group.best_cascades(most)
    more = len(group.cascades) - len(chains)
    for each in group.candidates:
        load = each.phases.get("load")
        rows.append(
            (
                f"{FRONT if each.on_front and each.kind != BASELINE else ' '} {label(each, group)}",
                share(each.accuracy),
                share(each.macro_f1).split(" ")[0],
                between(each.joules, "J", 1000.0),
                si(each.joules.value * 1000.0 / JOULES_PER_WATT_HOUR, "Wh") if each.joules else MISSING,
                times(each.joules.value / least) if each.joules and least else MISSING,
                si(each.seconds.value, "s"),
                si(each.p95_seconds, "s"),
                si(load.seconds, "s") if load else MISSING,
                percent(each.unparsable),
                notes.marks(each.caveats, said),
            )
        )
    rows.extend(
        (
            f"{FRONT if chain.on_front else ' '} {chain_label(chain, group)}",
            share(chain.accuracy),
            MISSING,
            between(chain.joules, "J", 1000.0),
            si(chain.joules.value * 1000.0 / JOULES_PER_WATT_HOUR, "Wh"),
            times(chain.joules.value / least) if least else MISSING,
            si(chain.seconds.value, "s"),
            si(chain.p95_seconds, "s"),
            MISSING,
            MISSING,
            notes.marks(chain.caveats, tuple(handed)),
        )
        for chain in chains
    )
    headers = (
        "model", "accuracy", "macro-F1", "J / 1,000 requests", "Wh / 1,000", "× least", "per request", "p95", "load",
        "unparsable", "notes",
    )  # fmt: skip
    above = [f"All rows: {words}." for words in said]
    above += [f"{more} more cascade{'s' if more > 1 else ''} in candidates.csv."] if more else []
    return Table(group.title, headers, tuple(rows), tuple(notes.told), above=tuple(above))


def phase_table(group: Group) -> Table:
    """Return the energy of each phase, and after how many texts steady work has cost what starting cost."""
    rows = []
    for each in group.candidates:
        start = [each.phases[name].joules for name in ("load", "fit", "warmup") if name in each.phases]
        known = [joules for joules in start if joules is not None]
        steady = each.joules.value if each.joules else None
        texts = MISSING
        if len(known) == len(start) and start and steady:
            texts = f"{sum(known) / steady:,.0f}"
        cells = [si(each.phases[name].joules, "J") if name in each.phases else MISSING
                 for name in ("load", "fit", "warmup")]  # fmt: skip
        rows.append(
            (
                label(each, group),
                *cells,
                si(steady * 1000.0, "J") if steady is not None else MISSING,
                between(each.net_joules, "J", 1000.0),
                texts,
            )
        )
    headers = (
        "model",
        "load",
        "fit",
        "warm-up",
        "steady, per 1,000 requests",
        "idle-subtracted, per 1,000",
        "texts until steady equals the start",
    )
    return Table(f"Energy by phase: {group.title}", headers, tuple(rows))


def budget_table(group: Group) -> Table | None:
    """Return what reasoning costs and brings; None without budgets."""
    rows = [
        (label(each, group), str(each.reasoning_budget), share(each.accuracy), between(each.joules, "J", 1000.0),
         f"{each.tokens['reasoning']:.1f}" if "reasoning" in each.tokens else MISSING)
        for each in sorted(group.candidates, key=lambda each: (each.kind, each.reasoning_budget or 0))
        if each.reasoning_budget is not None
    ]  # fmt: skip
    headers = ("model", "reasoning budget, tokens", "accuracy", "J / 1,000 requests", "reasoning tokens used")
    return Table(f"Reasoning budget: {group.title}", headers, tuple(rows)) if rows else None


def proxy_table(proxy: Proxy) -> Table:
    """Return how wrong runtime would have been about energy, row by row."""
    rows = tuple(
        (f"{each.key.model} ({each.key.dataset}, batch {each.key.batch_size})", si(each.seconds, "s"),
         si(each.joules, "J"), si(each.by_seconds, "J"), _signed(each.error_percent),
         _signed(each.unseen_error_percent))
        for each in proxy.rows
    )  # fmt: skip
    headers = ("row", "seconds", "joules", "from runtime", "error", "error, model not seen")
    told = [f"joules = {si(proxy.watts, 'W')} × seconds"]
    if proxy.median_error_percent is not None and proxy.worst_error_percent is not None:
        told.append(f"for a model not seen: median error {proxy.median_error_percent:.0f} %, "
                    f"worst {proxy.worst_error_percent:.0f} %")  # fmt: skip
    if proxy.quality == "estimated":
        told.append("the joules were estimated from runtime themselves, so this agreement proves nothing")
    return Table(f"Runtime as a stand-in for energy: {proxy.device} of {proxy.machine}", headers, rows, tuple(told))


def machine_table(facts: Facts) -> Table | None:
    """Return joules per 1,000 requests machine by machine; None with one machine."""
    machines = tuple(dict.fromkeys(each.key.machine for each in facts.candidates))
    if len(machines) < 2:
        return None
    held: dict[tuple[str, str], dict[str, str]] = {}
    for each in facts.candidates:
        held.setdefault((each.key.dataset, str(each.key)), {})[each.key.machine] = between(each.joules, "J", 1000.0)
    rows = tuple((*row, *(by.get(machine, MISSING) for machine in machines)) for row, by in held.items())
    return Table("Machines side by side: J / 1,000 requests", ("data set", "model", *machines), rows, words=2)


def _signed(value: float | None) -> str:
    return MISSING if value is None else f"{value:+.0f} %"


def sure_words(group: Group) -> str:
    """Say how good the joules of a group are, and what of its front the answer leaves out."""
    if all(each.joules is None for each in group.candidates):
        return f"{group.title}: no energy was measured, so there is no front."
    if answer_table(group) is None:
        return f"{group.title}: no model is more accurate than always answering the commonest label."
    left_out = sum(each.on_front for each in group.cascades) - len(group.best_cascades(_ANSWERS))
    more = f" Of cascades, {left_out} more are on the front: see the tables." if left_out > 0 else ""
    return _quality_words([each for each in group.candidates if each.joules]) + more


def _quality_words(known: Sequence[Candidate]) -> str:
    quality = {each.quality for each in known}
    if "estimated" in quality:
        low, high = min(each.gain[0] for each in known), max(each.gain[1] for each in known)
        return f"Energy estimated: the true joules are ×{low:g} to ×{high:g} of these, all by one common factor."
    return "Energy measured." if quality == {"measured"} else "Energy not measured directly everywhere: see the notes."

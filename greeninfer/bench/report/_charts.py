"""Which charts a report has, made of its facts; what a chart cannot show is in the table under it."""

from __future__ import annotations

from greeninfer.bench._candidates import Candidate, Figure
from greeninfer.bench._proxy import Proxy
from greeninfer.bench.report._dots import Dot, Dots
from greeninfer.bench.report._facts import BASELINE, Facts, Group
from greeninfer.bench.report._numbers import between, share, si
from greeninfer.bench.report._plot import Plot, Point, stepped
from greeninfer.bench.report._tables import label

THOUSAND = 1000.0
PHASES = ("load", "fit", "warmup", "steady")
PHASE_WORDS = ("load, once", "fit, once", "warm-up, once", "steady, per 1,000 requests")


def energy_chart(group: Group, kinds: tuple[str, ...]) -> Plot | None:
    """Return accuracy against joules per 1,000 requests with the front; None without joules."""
    # The commonest label is a line: as a mark, its near-zero joules would push all others into a corner.
    drawn = [each for each in group.candidates if each.kind != BASELINE] or group.candidates
    points = [
        Point(
            label(each, group), kinds.index(each.kind), each.joules.value * THOUSAND, each.accuracy.value,
            _range(each.joules, THOUSAND), _range(each.accuracy), front=each.on_front, tip=_tip(each, group),
        )
        for each in drawn if each.joules and each.joules.value > 0.0
    ]  # fmt: skip
    for chain in group.cascades:
        name = " → ".join(key.model for key in chain.stages)
        cost = f"{between(chain.joules, 'J', THOUSAND)} per 1,000 requests"
        tip = f"{group.number(chain)} {name}\naccuracy {share(chain.accuracy)}\n{cost}"
        if chain.joules.value > 0.0:
            points.append(Point(group.number(chain), len(kinds), chain.joules.value * THOUSAND, chain.accuracy.value,
                                _range(chain.joules, THOUSAND), _range(chain.accuracy), "diamond", chain.on_front,
                                tip))  # fmt: skip
    if not points:
        return None
    bar = max(group.candidates, key=lambda each: each.test_items).majority  # models that are dear are asked less
    front = stepped([(each.x, each.y) for each in points if each.front])
    return Plot(f"Accuracy against energy: {group.title}", "joules per 1,000 requests (gross)", "accuracy",
                tuple(points), rules=(("commonest label", bar),), lines=(front,))  # fmt: skip


def proxy_chart(proxy: Proxy, kinds: dict[str, int]) -> Plot | None:
    """Return joules against seconds per request with the line of the fit; None without rows."""
    points = tuple(
        Point(each.key.model, kinds.get(str(each.key), 0), each.seconds, each.joules,
              tip=f"{each.key} on {each.key.dataset}\n{si(each.joules, 'J')} in {si(each.seconds, 's')}\n"
                  f"from runtime {each.error_percent:+.0f} %")
        for each in proxy.rows
    )  # fmt: skip
    if not points:
        return None
    ends = (min(each.x for each in points), max(each.x for each in points))
    line = tuple((x, x * proxy.watts) for x in ends)
    return Plot(f"Energy against runtime: {proxy.device} of {proxy.machine}", "seconds per request",
                "joules per request", points, "s", "J", log_y=True, lines=(line,))  # fmt: skip


def budget_chart(group: Group, kinds: tuple[str, ...]) -> Plot | None:
    """Return what a reasoning budget costs and brings, its points joined model kind by kind; None without budgets."""
    held = [each for each in group.candidates if each.reasoning_budget is not None and each.joules
            and each.joules.value > 0.0]  # fmt: skip
    if not held:
        return None
    points, lines = [], []
    for kind in dict.fromkeys((each.kind, each.key.device, each.key.batch_size) for each in held):
        of_kind = [each for each in held if (each.kind, each.key.device, each.key.batch_size) == kind]
        of_kind.sort(key=lambda each: each.reasoning_budget or 0)
        made = [
            Point(f"{each.reasoning_budget} tokens", kinds.index(each.kind), each.joules.value * THOUSAND,
                  each.accuracy.value, _range(each.joules, THOUSAND), _range(each.accuracy), front=True,
                  tip=_tip(each, group))
            for each in of_kind if each.joules
        ]  # fmt: skip
        points += made
        lines.append(tuple((each.x, each.y) for each in made))
    return Plot(f"Reasoning budget: {group.title}", "joules per 1,000 requests (gross)", "accuracy", tuple(points),
                lines=tuple(lines))  # fmt: skip


def phase_chart(group: Group) -> Dots | None:
    """Return what starting costs once beside 1,000 requests, model by model; None without joules."""
    rows = []
    for each in group.models or group.candidates:
        if each.joules is None:
            continue
        held = [(name, each.phases[name].joules) for name in ("load", "fit", "warmup") if name in each.phases]
        held.append(("steady", each.joules.value * THOUSAND))
        dots = tuple(
            Dot(number, joules, f"{label(each, group)}\n{PHASE_WORDS[number]} {si(joules, 'J')}")
            for number, joules in ((PHASES.index(name), joules) for name, joules in held)
            if joules is not None and joules > 0.0
        )  # fmt: skip
        if dots:
            rows.append((label(each, group), dots))
    return Dots(f"Energy by phase: {group.title}", "joules", tuple(rows), PHASE_WORDS) if rows else None


def machine_chart(facts: Facts) -> Dots | None:
    """Return joules per 1,000 requests of each model, a colour for each machine; None with one machine."""
    machines = tuple(dict.fromkeys(each.key.machine for each in facts.candidates))
    held: dict[str, list[Dot]] = {}
    for each in facts.candidates:
        if each.joules and each.joules.value > 0.0 and each.kind != BASELINE:
            told = f"{each.key} on {each.key.machine}\n{between(each.joules, 'J', THOUSAND)} per 1,000 requests"
            dot = Dot(machines.index(each.key.machine), each.joules.value * THOUSAND, told)
            held.setdefault(f"{each.key.dataset}: {each.key.model}", []).append(dot)
    if len(machines) < 2 or not held:
        return None
    rows = tuple((name, tuple(dots)) for name, dots in held.items())
    return Dots("Machines side by side", "joules per 1,000 requests (gross)", rows, machines)


def kinds_of(facts: Facts) -> tuple[str, ...]:
    """Return the kinds of models, in order: each has its colour."""
    return tuple(dict.fromkeys(each.kind for each in facts.candidates))


def _range(figure: Figure, times: float = 1.0) -> tuple[float, float] | None:
    return None if figure.low is None or figure.high is None else (figure.low * times, figure.high * times)


def _tip(each: Candidate, group: Group) -> str:
    told = [label(each, group), f"accuracy {share(each.accuracy)}",
            f"{between(each.joules, 'J', THOUSAND)} per 1,000 requests",
            f"{si(each.seconds.value, 's')} per request"]  # fmt: skip
    return "\n".join([*told, *(caveat.words for caveat in each.caveats)])

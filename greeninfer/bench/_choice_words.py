"""A choice as text that a person can put into a report: Markdown that reads as well in a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator

from greeninfer.bench._candidates import Candidate, Figure
from greeninfer.bench._choice import Choice, Needs, Other
from greeninfer.bench._cost import Scale, Yearly

_PREFIXES = ((1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def amount(value: float, unit: str) -> str:
    """Return a figure with three digits and a prefix of its unit: 61 ms, 3.4 mJ, 1.21 kJ."""
    if value == 0.0 or not math.isfinite(value):
        return f"{value:g} {unit}"
    prefixes = [(size, prefix) for size, prefix in _PREFIXES if unit != "s" or size <= 1.0]
    size, prefix = next((each for each in prefixes if abs(value) >= each[0] * 0.9995), prefixes[-1])
    return f"{plain(value / size)} {prefix}{unit}"


def plain(value: float) -> str:
    """Return a number with three digits that count, thousands parted, and no exponent."""
    digits = 0 if value == 0.0 else max(0, 2 - math.floor(math.log10(abs(value)) + 1e-12))
    text = f"{value:,.{min(digits, 12)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def render(choice: Choice) -> str:
    """Return a choice in sentences, with its table, its reasons and its caveats."""
    blocks = [*_verdict(choice), _table(choice), *_yearly(choice), *_better(choice), _caveats(choice)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _verdict(choice: Choice) -> Iterator[str]:
    chosen, bounds = choice.chosen, _bounds(choice.needs)
    if choice.basis == "seconds":
        yield (
            "**There is no energy in these results.** Seconds per request stand in for it below: a proxy, which takes "
            "every second of every model for equally dear."
        )
    if chosen is None:
        nearest = choice.nearest
        closest = f" Nearest: {_name(nearest.candidate, choice)}: {', '.join(nearest.reasons)}." if nearest else ""
        yield f"**Nothing measured on {choice.dataset} has {bounds}.**{closest}"
        return
    sought = f"takes the least {_what(choice)}" if choice.needs.aim == "frugal" else "is the most accurate"
    within = f" with {bounds}" if bounds else ""
    yield (
        f"**{_name(chosen, choice)}** {sought} on {choice.dataset}{within}: {_cost_words(chosen, choice)}, "
        f"accuracy {_figure(chosen.accuracy)}, p95 {amount(chosen.p95_seconds, 's')} a call."
    )
    if choice.probability is not None:
        chance = _chance(choice.probability)
        yield f"Measured again with other texts and other splits, the same one would be chosen {chance}."
    yield from _doubts(choice, chosen)


def _doubts(choice: Choice, chosen: Candidate) -> Iterator[str]:
    bound = choice.needs.min_accuracy
    if bound is not None and chosen.accuracy.low is not None and chosen.accuracy.low < bound:
        yield (
            f"Its accuracy keeps the bound of {bound:g} only by the mean: in a repeat it may be as low as "
            f"{chosen.accuracy.low:.3f}."
        )
    if choice.tied:
        names = ", ".join(_name(each.candidate, choice) for each in choice.tied)
        what = _what(choice) if choice.needs.aim == "frugal" else "accuracy"
        yield f"In {what} it cannot be told apart from {names}."
    qualities = {each.quality for each in (chosen, *(each.candidate for each in choice.others)) if each.quality}
    if qualities == {"estimated"}:
        yield (
            f"All energies here are estimated by a power model: the true ones are x{chosen.gain[0]:g} to "
            f"x{chosen.gain[1]:g} of these."
        )
    elif "estimated" in qualities:
        yield "Some energies here are estimated, others measured: their ratios are as uncertain as the estimate."


def _table(choice: Choice) -> str:
    """Return everybody in a table, with the reason why not, and how much more or less they take."""
    rows = [] if choice.chosen is None else [_row(choice.chosen, "1", "**chosen**", choice)]
    for each in choice.others:
        why = "; ".join(each.reasons) or _runner_up(each, choice)
        rows.append(_row(each.candidate, "" if each.times is None else _times(each.times), why, choice))
    rows.extend(
        [str(gone.key), "", "", "", "", f"all {gone.cells} cells failed: {gone.reason}"] for gone in choice.left_out
    )
    cost = "energy a request" if choice.basis == "joules" else "seconds a request (proxy)"
    head = ["candidate", "accuracy", cost, "p95", "times", "why"]
    cells = [[each.replace("|", "/").replace("\n", " ") for each in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _row(candidate: Candidate, times: str, why: str, choice: Choice) -> list[str]:
    figure = candidate.joules if choice.basis == "joules" else candidate.seconds
    cost = "not known" if figure is None else amount(figure.value, "J" if choice.basis == "joules" else "s")
    right = f"{candidate.accuracy.value:.3f}"
    return [_name(candidate, choice), right, cost, amount(candidate.p95_seconds, "s"), times, why]


def _runner_up(other: Other, choice: Choice) -> str:
    if choice.needs.aim == "frugal":
        words = f"more {_what(choice)}" if other.cost_apart else f"{_what(choice)} cannot be told apart"
    else:
        words = "less accurate" if other.accuracy_apart else "accuracy cannot be told apart"
    return f"{words}; would be chosen {_chance(other.probability)}"


def _yearly(choice: Choice) -> Iterator[str]:
    if choice.scale is None:
        return
    if choice.yearly is None or choice.chosen is None:
        if choice.chosen is not None:
            yield "What it takes in a year is not known: there are no joules."
        return
    yield (
        f"At {plain(choice.scale.requests_per_day)} requests a day: {_year(choice.yearly, choice.scale)} a year"
        f"{_if_estimated(choice.chosen)}."
    )


def _better(choice: Choice) -> Iterator[str]:
    """Say what more accuracy would cost, and how the most accurate and the next compare."""
    chosen, better = choice.chosen, choice.better
    if chosen is None:
        return
    what = _what(choice)
    if better is None:
        yield (
            "Nothing measured that is as fast as was asked is more accurate."
            if (choice.needs.max_p95_seconds is not None)
            else "Nothing measured is more accurate."
        )
    elif better.times is not None and better.ahead is not None:
        doubt = "" if better.accuracy_apart else ": not told apart, a repeat may turn it round"
        words = (
            f"The next better one is {_name(better.candidate, choice)}: {_points(better.ahead)} more accurate{doubt}."
        )
        if better.times.value < 1.0:
            words += (
                f" It takes less {what} but misses a bound ({', '.join(better.reasons)})." if better.reasons else ""
            )
        elif choice.extra is not None and choice.scale is not None:
            words += f" It would cost {_year(choice.extra, choice.scale)} more a year{_if_estimated(chosen)}."
        yield words
    compared = [each for each in choice.others if each.times is not None]
    most = max(compared, key=lambda each: each.candidate.accuracy.value, default=None)
    kept = [each for each in compared if not each.reasons][:2]
    shown = {each.candidate.key: each for each in (*kept, better, most) if each is not None}
    lines = [f"- {_sentence(each, chosen, choice)}" for each in shown.values() if each.times is not None]
    if lines:
        yield "\n".join(lines)


def _sentence(other: Other, chosen: Candidate, choice: Choice) -> str:
    if other.times is None:
        return ""
    one, two, times = _name(other.candidate, choice), _name(chosen, choice), other.times
    if times.value < 1.0:
        low, high = (None, None) if times.high is None or times.low is None else (1 / times.high, 1 / times.low)
        one, two, times = two, one, Figure(1 / times.value, low, high)
    between = (
        "" if times.low is None or times.high is None else f" ({plain(times.low)} to {plain(times.high)} in a repeat)"
    )
    apart = "" if other.cost_apart or times.low is None else "; they cannot be told apart"
    return f"{one} uses {plain(times.value)} times the {_what(choice)} of {two}{between}{apart}."


def _caveats(choice: Choice) -> str:
    if choice.chosen is None:
        return ""
    lines = [f"- {each.words}" for each in choice.chosen.caveats]
    lines.append("- intervals are where a figure would lie if it were measured again, with 95 %")
    if choice.basis == "joules":
        lines.append(
            "- energy is gross, with idle power, of a request in the steady phase; loading and fitting are not in it"
        )
    return "What to know of the chosen one:\n\n" + "\n".join(lines)


def _bounds(needs: Needs) -> str:
    parts = []
    if needs.min_accuracy is not None:
        parts.append(f"an accuracy of at least {needs.min_accuracy:g}")
    if needs.max_p95_seconds is not None:
        parts.append(f"a p95 of at most {amount(needs.max_p95_seconds, 's')}")
    if needs.max_joules is not None:
        parts.append(f"at most {amount(needs.max_joules, 'J')} a request")
    return " and ".join(parts)


def _name(candidate: Candidate, choice: Choice) -> str:
    return f"{candidate.key} on {candidate.key.machine}" if choice.machines > 1 else str(candidate.key)


def _what(choice: Choice) -> str:
    return "energy" if choice.basis == "joules" else "time"


def _cost_words(candidate: Candidate, choice: Choice) -> str:
    figure, unit = (candidate.joules, "J") if choice.basis == "joules" else (candidate.seconds, "s")
    if figure is None:
        return "energy not known"
    between = (
        "" if figure.low is None or figure.high is None
        else f" ({amount(figure.low, unit)} to {amount(figure.high, unit)} in a repeat)"
    )  # fmt: skip
    quality = f", {candidate.quality}" if candidate.quality in ("estimated", "shared") and unit == "J" else ""
    return f"{amount(figure.value, unit)} a request{between}{quality}"


def _figure(figure: Figure) -> str:
    between = (
        "" if figure.low is None or figure.high is None else f" ({figure.low:.3f} to {figure.high:.3f} in a repeat)"
    )
    return f"{figure.value:.3f}{between}"


def _points(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return f"{100 * figure.value:.1f} points"
    return f"{100 * figure.value:.1f} points ({100 * figure.low:.1f} to {100 * figure.high:.1f} in a repeat)"


def _times(figure: Figure) -> str:
    between = "" if figure.low is None or figure.high is None else f" ({plain(figure.low)} to {plain(figure.high)})"
    return f"{plain(figure.value)}{between}"


def _chance(probability: float) -> str:
    """Say a probability; one from so many draws is never quite 0 or 1."""
    if probability > 0.995:
        return "in more than 99 % of the cases"
    return "in less than 1 % of the cases" if probability < 0.005 else f"in {100 * probability:.0f} % of the cases"


def _year(year: Yearly, scale: Scale) -> str:
    parts = [f"{plain(year.kwh)} kWh"]
    if year.money is not None:
        parts.append(
            f"{plain(year.money)} {scale.currency}".strip() if scale.currency else f"{plain(year.money)} (money)"
        )
    if year.grams is not None:
        parts.append(amount(year.grams, "g") + "CO2e")
    return ", ".join(parts)


def _if_estimated(candidate: Candidate) -> str:
    low, high = candidate.gain
    return f" (estimated: true x{low:g} to x{high:g})" if candidate.quality == "estimated" else ""

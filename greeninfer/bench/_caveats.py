"""What a reader of a candidate's figures has to know, found in its runs and put into words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median

from greeninfer._energy import Quality
from greeninfer.bench._candidates import Caveat, Figure
from greeninfer.bench._intervals import block_rates, relative_spread
from greeninfer.bench._records import Run
from greeninfer.bench._scores import Score

UNSTABLE_SPREAD = 0.10
BUSY_SHARE = 0.10
WIDE_ACCURACY = 0.05
FEW_SPLITS = 3


def of_energy(
    runs: Sequence[Run], quality: Quality | None, gain: tuple[float, float], joules: Figure | None
) -> Iterator[Caveat]:
    """Yield what is to be said of where the joules come from."""
    without = sum(1 for run in runs if run.joules_per_item is None)
    if joules is None:
        yield Caveat("no_energy", "no meter gave joules here; runtime is known, energy is not")
    elif without:
        yield Caveat("no_energy", f"{without} of {len(runs)} splits have no joules and are left out of the energy")
    if quality == "estimated":
        yield Caveat(
            "estimated",
            f"energy estimated by a power model, not measured: the true joules are x{gain[0]:g} to x{gain[1]:g} of "
            "these, by a factor common to all that was estimated on this machine",
        )
    elif quality == "shared":
        words = "energy measured for the whole machine and scaled by this process's share of CPU time"
        yield Caveat("shared", words)


def of_spread(runs: Sequence[Run], joules: Figure | None) -> Iterator[Caveat]:
    """Yield what is to be said of how steady the measurement was."""
    what = "seconds" if joules is None else "joules"
    per_item = [run.seconds_per_item if joules is None else run.joules_per_item for run in runs]
    between = relative_spread([each for each in per_item if each is not None])
    blocks = [block_rates(run, run.block_seconds if joules is None else run.block_joules) for run in runs]
    within = [spread for spread in map(relative_spread, blocks) if spread is not None]
    parts = []
    if between is not None and between > UNSTABLE_SPREAD:
        parts.append(f"{between:.0%} between splits")
    if within and median(within) > UNSTABLE_SPREAD:
        parts.append(f"{median(within):.0%} between blocks of one run")
    if parts:
        words = f"unstable: {what} per request spread by {' and '.join(parts)} (standard deviation over mean)"
        yield Caveat("unstable", words)
    if len(runs) < FEW_SPLITS:
        told = (
            "one split only: its intervals come from blocks of a single run, which resemble each other more than two "
            "runs do, so they are too narrow"
            if len(runs) == 1
            else f"{len(runs)} splits only: the spread between splits is hardly known"
        )
        yield Caveat("few_splits", told)
    below = sum(run.below_resolution for run in runs)
    if below:
        words = f"below resolution in {below} of {len(runs)} splits: too short for the meter's readings"
        yield Caveat("below_resolution", words)
    busy = [run.other_share for run in runs if run.other_share is not None]
    if busy and max(busy) > BUSY_SHARE:
        over = sum(each > BUSY_SHARE for each in busy)
        words = (
            f"busy machine: in {over} of {len(runs)} splits other processes had up to {max(busy):.0%} of the CPU time"
        )
        yield Caveat("busy_machine", words)


def of_accuracy(kind: str, scores: Sequence[Score], accuracy: Figure, majority: float, texts: int) -> Iterator[Caveat]:
    """Yield what is to be said of what the answers are worth; ``texts`` is the number of different test texts."""
    if accuracy.low is not None and accuracy.high is not None:
        half = (accuracy.high - accuracy.low) / 2
        if half > WIDE_ACCURACY:
            words = f"small test set: {texts} different texts leave accuracy uncertain by {100 * half:.0f} points"
            yield Caveat("small_test_set", words)
    alone = sum(each.labels == 1 for each in scores)
    if alone:
        yield Caveat("one_class_only", f"in {alone} of {len(scores)} splits all test texts have one label")
    unparsable = sum(each.unparsable * each.texts for each in scores) / sum(each.texts for each in scores)
    if unparsable > 0.0:
        words = f"{unparsable:.1%} of the answers could not be read as a label; they count as wrong"
        yield Caveat("unparsable", words)
    if kind == "majority":
        return  # it is the bar that the next two measure by
    same = sum(each.answers == 1 and each.labels > 1 for each in scores)
    if same:
        yield Caveat("one_class_only", f"in {same} of {len(scores)} splits it gave every text the same label")
    if accuracy.value <= majority or (accuracy.low is not None and accuracy.low <= majority):
        verdict = "is not told apart from" if accuracy.value > majority else "is no better than"
        words = f"accuracy {accuracy.value:.3f} {verdict} always answering the commonest label ({majority:.3f})"
        yield Caveat("below_majority", words)


def of_runs(runs: Sequence[Run], failed: Sequence[Run]) -> Iterator[Caveat]:
    """Yield what failed, and what the runs themselves have to say."""
    if failed:
        words = f"{len(failed)} of {len(failed) + len(runs)} cells failed; the first: {failed[0].reason or 'no reason'}"
        yield Caveat("failed_cells", words)
    notes = Counter(note for run in runs for note in dict.fromkeys(run.notes))
    for note, count in notes.items():
        yield Caveat("note", note if count == len(runs) else f"{note} (in {count} of {len(runs)} splits)")

"""``greeninfer bench init / run / report / choose / proxy``: the bench on the command line."""

from __future__ import annotations

import argparse
import logging
import re
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from greeninfer.bench import _study_file
from greeninfer.bench._choose import Needs, Scale, choose, render
from greeninfer.bench._folder import read
from greeninfer.bench._progress import open_progress
from greeninfer.bench._proxy import Proxy, cores_of, fit, write_power_model
from greeninfer.bench._records import Results
from greeninfer.bench._runner import Summary, run
from greeninfer.bench._statistics import candidates
from greeninfer.bench._template import TEMPLATE
from greeninfer.bench.report import render_terminal, write
from greeninfer.errors import ResultsError, StudyError

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0}
_QUIET = logging.NullHandler()
_JOULES = {"mj": 1e-3, "j": 1.0, "wh": 3600.0, "": 1.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the commands of the bench."""
    commands = parser.add_subparsers(dest="bench_command", required=True, metavar="COMMAND")
    for add in (_add_init, _add_run, _add_report, _add_choose, _add_proxy):
        add(commands)


def main(arguments: argparse.Namespace) -> int:
    """Run one of the bench's commands; return its exit status: 0 done, 1 something failed, 2 it could not be begun."""
    command: Callable[[argparse.Namespace], int] = arguments.bench_run
    logging.getLogger("greeninfer").addHandler(_QUIET)  # what the events say is printed here
    try:
        return command(arguments)
    except (StudyError, ResultsError, ImportError) as error:
        print(f"greeninfer bench: {error}", file=sys.stderr)
        return 2


def _add_init(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("init", help="write a commented study file to start from")
    parser.add_argument("file", nargs="?", type=Path, default=Path("study.yaml"), help="default: study.yaml")
    parser.set_defaults(bench_run=_init)


def _init(arguments: argparse.Namespace) -> int:
    path: Path = arguments.file
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError:
        print(f"greeninfer bench: {path} is there already; name another file", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"greeninfer bench: {path} cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    print(f"Wrote {path}. Next: greeninfer bench run {path}")
    return 0


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("run", help="measure every model of a study on this machine")
    parser.add_argument("study", type=Path, help="study file; greeninfer bench init writes one")
    parser.add_argument("--into", type=Path, help="results folder (default: results/NAME of the study)")
    parser.add_argument("--resume", action="store_true", help="go on where a run was interrupted, or has changed")
    parser.add_argument("--engine", default="local", choices=("local", "submitit", "ray"), help="where it runs")
    parser.add_argument(
        "--engine-option", action="append", default=[], metavar="NAME=VALUE", help="for the engine; may be repeated"
    )
    parser.set_defaults(bench_run=_run)


def _run(arguments: argparse.Namespace) -> int:
    study = _study_file.read_study(arguments.study)
    folder = arguments.into or Path("results") / study.name
    before = signal.signal(signal.SIGTERM, _interrupt)  # as Ctrl-C: what is done stays
    try:
        summary = run(
            study,
            folder,
            base=arguments.study.resolve().parent,
            resume=arguments.resume,
            engine=arguments.engine,
            engine_options=_options(arguments.engine_option),
            progress=open_progress(sys.stderr),
        )
    except StudyError as error:
        raise _study_file.locate(error, arguments.study) from error
    finally:
        signal.signal(signal.SIGTERM, before)
    return _tell(summary, arguments)


def _tell(summary: Summary, arguments: argparse.Namespace) -> int:
    if summary.done + summary.kept:
        print(render_terminal(_read([summary.folder]), _width()))
    counts = f"{summary.done} cells measured, {summary.kept} kept, {summary.failed} failed, {summary.left} left"
    print(f"{counts}; results in {summary.folder}")
    for note in summary.notes:
        print(note)
    again = f"greeninfer bench run {arguments.study} --into {summary.folder} --resume"
    if summary.interrupted or summary.left:
        print(f"Interrupted; nothing measured is lost. Go on: {again}")
    else:
        print(f"Next: greeninfer bench report {summary.folder}; greeninfer bench choose {summary.folder} --help")
    return 130 if summary.interrupted else int(summary.failed > 0 or summary.left > 0)


def _add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("report", help="table, page, Markdown and CSV of what was measured")
    _add_folders(parser)
    parser.add_argument("--into", type=Path, help="where to write (default: the first results folder)")
    parser.set_defaults(bench_run=_report)


def _report(arguments: argparse.Namespace) -> int:
    results = _read(arguments.folders)
    written = write(results, arguments.into or arguments.folders[0])
    print(render_terminal(results, _width()))
    for path in written.paths:
        print(f"wrote {path}")
    return 0


def _add_choose(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("choose", help="the model that needs the least energy for what you ask of it")
    _add_folders(parser)
    parser.add_argument("--min-accuracy", type=float, metavar="SHARE", help="such as 0.8")
    parser.add_argument("--max-p95", type=_seconds, metavar="TIME", help="such as 50ms")
    parser.add_argument("--max-energy", type=_joules, metavar="JOULES", help="per request, such as 0.5J, 20mJ, 1Wh")
    for name in ("dataset", "machine", "device"):
        parser.add_argument(f"--{name}", help=f"only this {name}")
    parser.add_argument("--batch-size", type=int, help="only this batch size")
    parser.add_argument("--requests-per-day", type=float, metavar="N", help="such as 2e6: also says it per year")
    parser.add_argument("--grid", type=float, metavar="G", help="gCO2e per kWh of your electricity")
    parser.add_argument("--price", type=float, metavar="P", help="price of a kWh")
    parser.add_argument("--currency", default="", help="of the price, such as EUR")
    parser.set_defaults(bench_run=_choose)


def _choose(arguments: argparse.Namespace) -> int:
    needs = Needs(
        min_accuracy=arguments.min_accuracy,
        max_p95_seconds=arguments.max_p95,
        max_joules=arguments.max_energy,
        dataset=arguments.dataset,
        machine=arguments.machine,
        device=arguments.device,
        batch_size=arguments.batch_size,
    )
    scale = None
    if arguments.requests_per_day is not None:
        scale = Scale(arguments.requests_per_day, arguments.grid, arguments.price, arguments.currency)
    elif arguments.grid is not None or arguments.price is not None:
        raise StudyError("--grid and --price say nothing by themselves", remedy="add --requests-per-day")
    choice = choose(_read(arguments.folders), needs, scale)
    print(render(choice))
    return 0 if choice.chosen is not None else 1


def _add_proxy(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("proxy", help="how wrong runtime is as a proxy of energy, and a power model of it")
    _add_folders(parser)
    parser.add_argument("--save", type=Path, metavar="FILE", help="for GREENINFER_POWER_MODEL, on such machines")
    parser.set_defaults(bench_run=_proxy)


def _proxy(arguments: argparse.Namespace) -> int:
    results = _read(arguments.folders)
    proxies = fit(candidates(results), cores_of(results))
    if not proxies:
        raise ResultsError("no joules are in these results; remedy: greeninfer doctor says how to get some")
    print("\n\n".join(map(_described, proxies)))
    if arguments.save is not None:
        cpu = [proxy for proxy in proxies if proxy.device == "cpu"]
        if len(cpu) != 1:
            found = ", ".join(proxy.machine for proxy in cpu) or "none"
            raise StudyError(f"{len(cpu)} machines with figures of the CPU ({found})", "one", "name one results folder")
        write_power_model(cpu[0], arguments.save)
        print(f"Wrote {arguments.save}. On such machines without a sensor: GREENINFER_POWER_MODEL={arguments.save}")
    return 0


def _described(proxy: Proxy) -> str:
    """Return how wrong runtime is, row by row."""
    lines = [f"{proxy.machine}, {proxy.device}: joules = {proxy.watts:.4g} W x seconds"]
    if proxy.quality == "estimated":
        lines.append("These joules are estimated themselves: this says how busy the models keep the machine, no more.")
    lines.append(f"{'':44s} {'ms':>10s} {'J':>10s} {'error %':>8s} {'if not seen %':>13s}")
    for row in proxy.rows:
        unseen = "-" if row.unseen_error_percent is None else f"{row.unseen_error_percent:+.1f}"
        figures = f"{row.seconds * 1e3:10.4g} {row.joules:10.4g} {row.error_percent:+8.1f} {unseen:>13s}"
        lines.append(f"{row.key!s:44s} {figures}")
    median, worst = proxy.median_error_percent, proxy.worst_error_percent
    if median is not None and worst is not None:
        lines.append(
            f"For a model that it has not seen it is {median:.1f} % off in the median, {worst:.1f} % at worst."
        )
    if proxy.correlation is not None:
        lines.append(f"(r = {proxy.correlation:.4f}, which the longest runs rule)")
    return "\n".join(lines)


def _add_folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="results folder, of one machine each")


def _read(folders: Sequence[Path]) -> list[Results]:
    return [read(machine) for folder in folders for machine in _machines(folder)]


def _machines(folder: Path) -> list[Path]:
    """Return the results folders in a folder: itself, or those of the machines that a sweep went over."""
    if (folder / "environment.json").exists():
        return [folder]
    inside = sorted(path.parent for path in folder.glob("*/environment.json"))
    return inside or [folder]


def _width() -> int:
    return max(80, shutil.get_terminal_size((160, 24)).columns)


def _options(texts: Sequence[str]) -> dict[str, object]:
    options: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise StudyError(f"--engine-option {text!r}", "NAME=VALUE")
        options[name] = value
    return options


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _seconds(text: str) -> float:
    return _quantity(text, _SECONDS)


def _joules(text: str) -> float:
    return _quantity(text, _JOULES)


def _quantity(text: str, units: dict[str, float]) -> float:
    found = re.fullmatch(r"\s*([0-9.eE+-]+?)\s*([a-zA-Z]*)\s*", text)
    if found is None or found[2].lower() not in units:
        allowed = ", ".join(unit for unit in units if unit)
        raise argparse.ArgumentTypeError(f"{text!r}: a number with one of {allowed}")
    try:
        return float(found[1]) * units[found[2].lower()]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: {found[1]!r} is no number") from None

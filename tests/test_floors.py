"""The plan of the house, kept true: who may import whom, how large a room may be, what no module may do.

Each rule is a function from a tree of modules to its complaints. It is held against the package, and, so that a rule
that sees nothing cannot pass for a clean house, against a made-up tree that breaks it and one that does not.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "greeninfer"

FACE = "__init__"
WINGS = ("meters", "exporters")
# In this order: a module of the middle may import only what stands before it.
MIDDLE = (
    "_account", "_tracing", "_running", "_parts", "_origin", "_remote", "_route_name", "_span", "_steps",
    "_request_steps", "_timeline", "_brief", "_virtual_clocks", "_activity", "_ledger", "_fit", "_calibration",
    "_sampler", "_power", "_letterbox", "_presence", "_share", "_books",
)  # fmt: skip
DOORS = ("_measure", "_carrier", "_metrics_app", "asgi", "threads", "integrations", "testing", "bench")
FLOORS = (
    ("errors", "_clock", "_energy", "_records", "_settings"),
    WINGS,
    MIDDLE,
    ("_outlet", "_monitor", "_installed"),
    ("_wrapper", "_trio_tasks", "_following", "_exchange"),
    DOORS,
    ("_instrument", "_cascade"),
    (FACE,),
    ("cli", "__main__", "_doctor", "demo", "top", "dashboards"),
)
NAMES = ("ground", "wings", "middle", "joint", "door frames", "doors", "porch", "face", "roof")
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

READ_ENVIRONMENT = {
    *("_monitor", "_installed", "cli", "_doctor", "demo"),
    *("bench._runner", "bench._cell", "bench._environment", "bench.engines._sweep"),
}
ENVIRONMENT = ("os.environ", "os.environb", "os.getenv", "os.getenvb")
FORBIDDEN_NAMES = {"utils", "util", "common", "misc", "helpers", "helper", "core", "manager"}
MODULE_LINES = 300
FUNCTION_LINES = 60

FOR_TYPES = ("TYPE_CHECKING", "typing.TYPE_CHECKING")
When = Literal["import", "call", "typing"]


@dataclass(frozen=True)
class Import:
    name: str
    line: int
    when: When


@dataclass(frozen=True)
class Module:
    """One file: ``meters.rapl``, a package under its own name, the face as ``__init__``."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.name.split(".")[0]

    def at(self, line: int) -> str:
        return f"{self.name}:{line}"


House = dict[str, Module]
Rule = Callable[[House], list[str]]


def read_house(package: Path) -> House:
    house: House = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        text = path.read_text(encoding="utf-8")
        house[name] = Module(name, path, text, ast.parse(text, str(path)))
    return house


def imports(module: Module) -> Iterator[Import]:
    """Yield every import as absolute names, one for each name of a ``from`` import."""
    yield from _imports_under(module, module.tree.body, "import")


def _imports_under(module: Module, body: list[ast.stmt], when: When) -> Iterator[Import]:
    for node in body:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, when) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            yield from (Import(f"{base}.{alias.name}", node.lineno, when) for alias in node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _imports_under(module, node.body, "typing" if when == "typing" else "call")
        else:
            inside: When = "typing" if isinstance(node, ast.If) and ast.unparse(node.test) in FOR_TYPES else when
            yield from _imports_under(module, _statements(node, "body"), inside)
            for part in ("orelse", "finalbody"):
                yield from _imports_under(module, _statements(node, part), when)
            for part in ("handlers", "cases"):
                for branch in getattr(node, part, []):
                    yield from _imports_under(module, branch.body, when)
    if body is module.tree.body:
        yield from _imports_by_string(module)


def _statements(node: ast.stmt, part: str) -> list[ast.stmt]:
    found = getattr(node, part, [])
    return found if isinstance(found, list) else []


def _imports_by_string(module: Module) -> Iterator[Import]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield Import(first.value, node.lineno, "call")


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    inside = [] if module.name == FACE else module.name.split(".")
    if module.path.name != "__init__.py":
        inside = inside[:-1]
    inside = inside[: len(inside) - (node.level - 1)]
    return ".".join(["greeninfer", *inside, *([node.module] if node.module else [])])


def arrows(house: House) -> Iterator[tuple[Module, Module, int]]:
    """Yield (importing module, imported module, line) for imports inside the house."""
    for module in house.values():
        for each in imports(module):
            if each.name.split(".")[0] == "greeninfer":
                yield module, house[_module_of(house, each.name)], each.line


def _module_of(house: House, name: str) -> str:
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in house:
        parts.pop()
    return ".".join(parts) or FACE


def every_module_has_a_floor(house: House) -> list[str]:
    return [f"{name}: not in the plan (FLOORS)" for name, module in house.items() if module.room not in FLOOR]


def no_arrow_runs_up(house: House) -> list[str]:
    found = []
    for source, target, line in arrows(house):
        if source.room in FLOOR and target.room in FLOOR and FLOOR[source.room] < FLOOR[target.room]:
            above, below = NAMES[FLOOR[target.room]], NAMES[FLOOR[source.room]]
            found.append(f"{source.at(line)}: {below} import {target.name} from the {above}")
    return found


def no_arrow_between_the_wings(house: House) -> list[str]:
    return [
        f"{source.at(line)}: one wing imports the other: {target.name}"
        for source, target, line in arrows(house)
        if source.room in WINGS and target.room in WINGS and source.room != target.room
    ]


def the_middle_is_pure(house: House) -> list[str]:
    found = []
    for source, target, line in arrows(house):
        if source.room not in MIDDLE or source.room == target.room:
            continue
        if target.room in WINGS:
            found.append(f"{source.at(line)}: the middle imports a wing: {target.name}")
        if target.room in MIDDLE and MIDDLE.index(target.room) > MIDDLE.index(source.room):
            found.append(f"{source.at(line)}: imports {target.name}, which stands after it in MIDDLE")
    return found


def no_door_opens_another(house: House) -> list[str]:
    return [
        f"{source.at(line)}: a door imports another door: {target.name}"
        for source, target, line in arrows(house)
        if source.room in DOORS and target.room in DOORS and source.room != target.room
    ]


def doors_know_no_meter(house: House) -> list[str]:
    """``testing`` may: it hands the simulated meter to people's own tests."""
    return [
        f"{source.at(line)}: a door imports {target.name}"
        for source, target, line in arrows(house)
        if source.room in DOORS and source.room != "testing" and target.room == "meters"
    ]


def one_joint_knows_both_wings(house: House) -> list[str]:
    seen: dict[str, set[str]] = {}
    for source, target, _ in arrows(house):
        if target.room in WINGS:
            seen.setdefault(source.name, set()).add(target.room)
    return [f"{name}: imports both wings" for name, wings in seen.items() if len(wings) == 2 and name != "_monitor"]


def no_cycle(house: House) -> list[str]:
    targets: dict[str, set[str]] = {}
    for source, target, _ in arrows(house):
        if source is not target:
            targets.setdefault(source.name, set()).add(target.name)
    done: set[str] = set()
    found = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            found.append(f"cycle: {' -> '.join((*path[path.index(name) :], name))}")
        elif name not in done:
            for target in sorted(targets.get(name, ())):
                visit(target, (*path, name))
            done.add(name)

    for name in sorted(house):
        visit(name, ())
    return found


def rooms_are_small(house: House) -> list[str]:
    lines = {name: len(module.text.splitlines()) for name, module in house.items()}
    return [f"{name}: {count} lines, {MODULE_LINES} at most" for name, count in lines.items() if count > MODULE_LINES]


def functions_fit_a_screen(house: House) -> list[str]:
    found = []
    for module in house.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = (node.end_lineno or node.lineno) - node.lineno + 1
                if count > FUNCTION_LINES:
                    found.append(f"{module.at(node.lineno)}: {node.name} has {count} lines, {FUNCTION_LINES} at most")
    return found


def names_say_something(house: House) -> list[str]:
    return [
        f"{name}: a name that says nothing"
        for name in house
        if FORBIDDEN_NAMES & {part.strip("_") for part in name.split(".")}
    ]


def only_composers_read_the_environment(house: House) -> list[str]:
    found = []
    for module in house.values():
        if {module.room, module.name} & READ_ENVIRONMENT:
            continue
        for node in ast.walk(module.tree):
            by_attribute = ast.unparse(node) in ENVIRONMENT if isinstance(node, ast.Attribute) else False
            by_name = isinstance(node, ast.ImportFrom) and node.module == "os" and "env" in ast.unparse(node)
            if by_attribute or by_name:
                found.append(f"{module.at(node.lineno)}: reads the environment")  # type: ignore[attr-defined]
    return found


def optional_packages_are_imported_late(house: House) -> list[str]:
    at_hand = {"greeninfer", *core_packages(), *sys.stdlib_module_names}
    return [
        f"{module.at(each.line)}: imports {each.name} with the module; only inside a function"
        for module in house.values()
        for each in imports(module)
        if each.when == "import" and each.name.split(".")[0] not in at_hand
    ]


def core_packages() -> set[str]:
    """Return the packages that the project cannot be installed without."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {re.split(r"[^\w-]", line)[0].replace("-", "_") for line in project["dependencies"]}


RULES: tuple[Rule, ...] = (
    every_module_has_a_floor,
    no_arrow_runs_up,
    no_arrow_between_the_wings,
    the_middle_is_pure,
    no_door_opens_another,
    doors_know_no_meter,
    one_joint_knows_both_wings,
    no_cycle,
    rooms_are_small,
    functions_fit_a_screen,
    names_say_something,
    only_composers_read_the_environment,
    optional_packages_are_imported_late,
)


@pytest.fixture(scope="module")
def house() -> House:
    return read_house(PACKAGE)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule: Rule, house: House) -> None:
    assert rule(house) == []


def test_the_house_is_really_read(house: House) -> None:
    assert ("_settings", "errors") in {(source.name, target.name) for source, target, _ in arrows(house)}
    assert core_packages() == {"wrapt", "prometheus_client", "numpy", "opentelemetry_api"}


LONG_FUNCTION = "def long():\n" + "    pass\n" * 59
GOOD = {
    "__init__.py": "from greeninfer._measure import measure\nfrom greeninfer.errors import Oops\n",
    "errors.py": "import os\nclass Oops(Exception): ...\n",
    "meters/__init__.py": "from greeninfer.meters import rapl\n",
    "meters/rapl.py": "from greeninfer.errors import Oops\ndef make():\n    import pynvml\n",
    "exporters/__init__.py": "import prometheus_client, numpy, wrapt.wrappers\n",
    "_span.py": "from . import errors\n",
    "_ledger.py": "from ._span import Span\n",
    "_monitor.py": "from greeninfer import meters, exporters\n",
    "_installed.py": "import os\nos.environ\n",
    "_measure.py": "from greeninfer._monitor import Monitor\n",
    "testing.py": "from greeninfer.meters import rapl\nimport typing\nif typing.TYPE_CHECKING:\n    import torch\n",
    "demo/__init__.py": "import greeninfer\nfrom greeninfer.cli import main\n" + LONG_FUNCTION,
    "cli.py": LONG_FUNCTION + "\n" * 240,
}
BAD: tuple[tuple[Rule, str, str, str], ...] = (
    (every_module_has_a_floor, "_attic.py", "", "_attic: not in the plan"),
    (every_module_has_a_floor, "attic/rapl.py", "", "attic.rapl: not in the plan"),
    (
        no_arrow_runs_up,
        "errors.py",
        "from greeninfer._monitor import Monitor",
        "errors:1: ground import _monitor from the joint",
    ),
    (no_arrow_runs_up, "meters/rapl.py", "def f():\n    import greeninfer._ledger", "meters.rapl:2: wings"),
    (no_arrow_runs_up, "meters/rapl.py", "from .._ledger import Ledger", "meters.rapl:1"),
    (no_arrow_runs_up, "meters/rapl.py", "import importlib\nimportlib.import_module('greeninfer._ledger')", "rapl:2"),
    (
        no_arrow_runs_up,
        "_monitor.py",
        "try:\n    from greeninfer import _measure\nexcept ImportError: ...",
        "_monitor:2",
    ),
    (no_arrow_runs_up, "_ledger.py", "if TYPE_CHECKING:\n    from greeninfer._monitor import Monitor", "_ledger:2"),
    (
        no_arrow_runs_up,
        "_measure.py",
        "from greeninfer import current",
        "_measure:1: doors import __init__ from the face",
    ),
    (no_arrow_between_the_wings, "meters/rapl.py", "from greeninfer.exporters import EXPORTERS", "meters.rapl:1"),
    (no_arrow_between_the_wings, "exporters/log.py", "from ..meters.rapl import Rapl", "exporters.log:1"),
    (the_middle_is_pure, "_ledger.py", "from greeninfer.meters._contract import Meter", "a wing: meters"),
    (the_middle_is_pure, "_span.py", "from greeninfer._ledger import Ledger", "imports _ledger, which stands after"),
    (no_door_opens_another, "asgi.py", "from greeninfer._measure import measure", "asgi:1"),
    (doors_know_no_meter, "asgi.py", "from greeninfer.meters import open_meters", "asgi:1"),
    (
        one_joint_knows_both_wings,
        "cli.py",
        "from greeninfer import meters\nfrom greeninfer.exporters import a",
        "cli: ",
    ),
    (no_cycle, "meters/rapl.py", "from greeninfer.meters import METERS", "cycle: meters -> meters.rapl -> meters"),
    (
        no_cycle,
        "errors.py",
        "if TYPE_CHECKING:\n    import greeninfer._ledger",
        "cycle: errors -> _ledger -> _span -> errors",
    ),
    (rooms_are_small, "cli.py", "\n" * 301, "cli: 301 lines"),
    (functions_fit_a_screen, "cli.py", LONG_FUNCTION + "    pass\n", "cli:1: long has 61 lines"),
    (functions_fit_a_screen, "cli.py", "class A:\n    async def b(self):\n" + "        ...\n" * 60, "cli:2: b has 61"),
    (names_say_something, "meters/_utils.py", "", "meters._utils"),
    (names_say_something, "core/rapl.py", "", "core.rapl"),
    (only_composers_read_the_environment, "errors.py", "import os\nx = os.environ['A']", "errors:2"),
    (only_composers_read_the_environment, "_ledger.py", "from os import getenv", "_ledger:1"),
    (optional_packages_are_imported_late, "cli.py", "import rich.table", "cli:1: imports rich.table"),
    (
        optional_packages_are_imported_late,
        "demo/__init__.py",
        "try:\n    import sklearn\nexcept ImportError: ...",
        "demo:2",
    ),
    (optional_packages_are_imported_late, "_span.py", "class A:\n    from psutil import Process", "_span:2"),
    (
        optional_packages_are_imported_late,
        "_span.py",
        "if not TYPE_CHECKING_X:\n    ...\nelse:\n    import torch",
        "_span:4",
    ),
)


def build(package: Path, files: dict[str, str]) -> House:
    for name, text in files.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return read_house(package)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_good_tree_passes(rule: Rule, tmp_path: Path) -> None:
    assert rule(build(tmp_path, GOOD)) == []


@pytest.mark.parametrize(("rule", "name", "text", "complaint"), BAD, ids=lambda value: getattr(value, "__name__", None))
def test_a_bad_tree_is_refused(rule: Rule, name: str, text: str, complaint: str, tmp_path: Path) -> None:
    found = rule(build(tmp_path, {**GOOD, name: text}))
    assert len(found) == 1, found
    assert complaint in found[0]


def test_every_rule_has_a_bad_tree() -> None:
    assert {rule for rule, *_ in BAD} == set(RULES)

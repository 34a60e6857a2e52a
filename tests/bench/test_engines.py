"""Engines: what each machine is given, what comes back, and what is told where there is no such cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from greeninfer.bench._folder import read
from greeninfer.bench._progress import Silence
from greeninfer.bench._runner import Summary, run
from greeninfer.bench._study import Splits, Study
from greeninfer.bench.engines import ENGINES, Sweep, open_engine
from greeninfer.bench.engines._ray import hosts
from greeninfer.bench.engines._submitit import minutes, split_places, submit
from greeninfer.bench.engines._sweep import joined, machine_name, measure_there
from greeninfer.errors import ResultsError, StudyError

from .runner_builders import World, counts

ONCE = Splits(count=1, train=4, test=4)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def sweep(world: World, study: Study) -> Sweep:
    return Sweep(study, world.folder, world.root, {}, world.launch())


class Said(Silence):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def say(self, text: str) -> None:
        self.texts.append(text)


# What every engine does with a machine


def test_a_machine_measures_the_whole_study_into_its_own_folder(world: World) -> None:
    study = world.make_ready(world.study("a", "b"))
    summary = measure_there(sweep(world, study))
    assert summary == Summary(4, 0, 0, 0, world.folder / machine_name())
    assert len(read(world.folder / machine_name()).runs) == 4


def test_a_machine_goes_on_where_it_was_stopped(world: World) -> None:
    study = world.make_ready(world.study("raises", "a"))
    assert counts(measure_there(sweep(world, study))) == (2, 0, 2, 0)
    world.mend()
    assert counts(measure_there(sweep(world, study))) == (2, 2, 0, 0)


def test_machines_become_one_summary(world: World) -> None:
    told = sweep(world, world.study("a", "b"))  # four cells
    one, other = Summary(3, 0, 1, 0, Path("x")), Summary(1, 1, 0, 2, Path("y"), interrupted=True)
    assert joined([one], {}, told) == Summary(3, 0, 1, 0, world.folder)
    assert joined([one, other], {}, told) == Summary(4, 1, 1, 2, world.folder, interrupted=True)
    lost = joined([one], {"node7": "caught fire"}, told)
    assert lost == Summary(3, 0, 1, 4, world.folder, interrupted=True, notes=("node7: caught fire",))
    with pytest.raises(ResultsError, match="no machine measured anything: node7: caught fire"):
        joined([], {"node7": "caught fire"}, told)


def test_results_of_machines_are_not_overwritten(world: World) -> None:
    study = world.make_ready(world.study("a"))
    measure_there(sweep(world, study))
    with pytest.raises(ResultsError, match=f"holds results of {machine_name()} already; remedy: --resume"):
        run(study, world.folder, base=world.root, engine="submitit", engine_options={"cluster": "local"})


def test_the_engines_are_those_that_are_told() -> None:
    assert list(ENGINES) == ["submitit", "ray"]


# submitit

# Slurm's own commands as scripts that write down what they are asked.
SBATCH = '#!/bin/sh\ncp "$1" {}/asked.$(ls {} | grep -c asked)\necho Submitted batch job 12\n'


def test_without_slurm_the_error_names_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'greeninfer[slurm]'")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StudyError, match=r"needs Slurm, and this machine has no sbatch; remedy: .*--engine local"):
        run(world.study("a"), world.folder, base=world.root, engine="submitit")
    assert not world.folder.exists()


@contextlib.contextmanager
def slurm(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Slurm that takes jobs and says at once that they failed."""
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'greeninfer[slurm]'")
    place = world.root / "slurm"
    place.mkdir()
    scripts = {
        "sbatch": SBATCH.format(place, place),
        "srun": "#!/bin/sh\n",
        "sacct": "#!/bin/sh\necho 'JobID|State|NodeList'\necho '12|FAILED|n1'\n",
    }
    for name, text in scripts.items():
        (place / name).write_text(text, encoding="utf-8")
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(place), prepend=":")
    yield place


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({}, {"--nodes=1", "--ntasks-per-node=1", "--exclusive", "--mem=0", "--cpus-per-task=4", "--time=11"}),
        ({"slurm_additional_parameters": {"nodelist": "n1"}}, {"--nodelist=n1", "--exclusive"}),
        ({"nodes": "2", "gpus_per_node": "1"}, {"--nodes=2", "--gpus-per-node=1", "--exclusive"}),
        ({"timeout_min": 90, "slurm_account": "uba"}, {"--time=90", "--account=uba", "--exclusive"}),
    ],
)
def test_slurm_is_asked_for_whole_nodes(
    world: World, monkeypatch: pytest.MonkeyPatch, options: dict[str, object], asked: set[str]
) -> None:
    with slurm(world, monkeypatch) as place:
        import submitit

        executor = submitit.AutoExecutor(folder=world.root / "jobs", cluster="slurm")
        job = submit(executor, sweep(world, world.study("a")), options)
        assert job.job_id == "12"
        (path,) = place.glob("asked*")
        lines = set(path.read_text(encoding="utf-8").replace("#SBATCH ", "").split())
        assert asked <= lines, asked - lines
        with pytest.raises(StudyError, match="colour"):
            submit(executor, sweep(world, world.study("a")), {"slurm_colour": "blue"})


def test_each_host_or_partition_gets_a_job() -> None:
    options: dict[str, object] = {"hosts": "n1, n2", "qos": "long"}
    assert split_places(options) == {
        "n1": {"slurm_additional_parameters": {"nodelist": "n1"}},
        "n2": {"slurm_additional_parameters": {"nodelist": "n2"}},
    }
    assert options == {"qos": "long"}
    assert split_places({"partitions": ["clara"]}) == {"clara": {"slurm_partition": "clara"}}
    assert split_places({}) == {"any node": {}}
    with pytest.raises(StudyError, match="one of them"):
        split_places({"hosts": "a", "partitions": "b"})
    with pytest.raises(StudyError, match="names with commas"):
        split_places({"hosts": 3})


@pytest.mark.heavy
def test_a_job_that_slurm_lost_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with slurm(world, monkeypatch):
        said = Said()
        with pytest.raises(ResultsError, match="no machine measured anything: any node: "):
            open_engine("submitit", {})(sweep(world, world.study("a")), said)
        assert said.texts[0] == "Submitted: any node (job 12)"


def test_a_job_may_take_as_long_as_its_cells_and_a_day_at_most(world: World) -> None:
    study = world.study("a", "b")  # four cells of half a minute, and ten minutes for what is beside them
    assert minutes(study) == 12
    assert minutes(world.study(*(f"m{number}" for number in range(2000)))) == 1440


@pytest.mark.heavy
def test_submitit_brings_the_study_to_a_machine_and_its_results_back(world: World) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'greeninfer[slurm]'")
    study = world.make_ready(world.study("a", "raises", splits=ONCE))
    options = {"cluster": "local"}
    told = {"base": world.root, "engine": "submitit", "engine_options": options, "launch": world.launch()}
    summary = run(study, world.folder, **told)  # type: ignore[arg-type]
    assert counts(summary) == (1, 0, 1, 0)
    assert len(read(world.folder / machine_name()).runs) == 2
    world.mend()
    assert counts(run(study, world.folder, resume=True, **told)) == (1, 1, 0, 0)  # type: ignore[arg-type]
    world.begun()


# Ray


def node(host: str, number: str, alive: bool = True, **resources: float) -> dict[str, object]:
    return {"Alive": alive, "NodeManagerHostname": host, "NodeID": number * 40, "Resources": {"CPU": 4.0, **resources}}


NODES = [
    node("one", "a", greeninfer_host=1.0),
    node("one", "b", greeninfer_host=1.0),
    node("two", "c", greeninfer_host=1.0),
    node("gone", "d", alive=False, greeninfer_host=1.0),
    node("head", "e"),
]


def test_one_node_of_each_host_that_gives_itself_measures() -> None:
    assert {name: each["NodeID"][0] for name, each in hosts(NODES).items()} == {"one": "a", "two": "c"}
    assert set(hosts(NODES, nodes_are_hosts=True)) == {"one-aaaaaaaa", "one-bbbbbbbb", "two-cccccccc"}
    with pytest.raises(StudyError, match="no node of the Ray cluster has the resource greeninfer_host; remedy: start"):
        hosts(NODES[3:])


@pytest.mark.heavy
@pytest.mark.filterwarnings("default")
def test_two_nodes_of_a_ray_cluster_measure_side_by_side(world: World) -> None:
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'greeninfer[ray]'")
    from ray.cluster_utils import Cluster

    study = world.make_ready(world.study("a", "raises", splits=ONCE))
    resources = {"greeninfer_host": 1}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "resources": resources})
    try:
        cluster.add_node(num_cpus=1, resources=resources)
        options = {"address": cluster.address, "nodes_are_hosts": True}
        told = {"base": world.root, "engine": "ray", "engine_options": options, "launch": world.launch()}
        summary = run(study, world.folder, **told)  # type: ignore[arg-type]
        assert not ray.is_initialized(), "as it was before"
    finally:
        cluster.shutdown()
    assert counts(summary) == (2, 0, 2, 0)
    folders = sorted(path.parent for path in world.folder.glob("*/environment.json"))
    assert len(folders) == 2
    for folder in folders:
        assert len(read(folder).runs) == 2

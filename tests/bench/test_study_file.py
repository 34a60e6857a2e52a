from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greeninfer.bench import models
from greeninfer.bench._splits import draw
from greeninfer.bench._study import Dataset, ModelSpec, Protocol, Splits, Study
from greeninfer.bench._study_file import locate, parse_recorded, parse_study, read_study, render_study
from greeninfer.bench._template import TEMPLATE
from greeninfer.bench._texts import load
from greeninfer.bench._yaml_tree import resolve
from greeninfer.errors import StudyError

EXAMPLES = Path(__file__).parents[2] / "examples" / "bench"
HEAD = "name: x\ndatasets: [tomatoes]\n"


def test_a_study_in_full() -> None:
    text = """\
name: all of it
datasets:
  - {name: d, source: a.csv, text: body, label: queue, part: train, descriptions: {no: not spam, 007: Bond}}
models:
  - {name: m, kind: features, options: {features: tfidf}, head: boosting, splits: 2, test_items: 5, batch_sizes: [4],
     devices: [cuda], C: 1e-3}
batch_sizes: [1, 8]
devices: [cpu, "cuda:1"]
splits: {count: 3, train: 0.5, test: 100, seed: 7, stratify: true}
protocol: {min_seconds: 1, min_ticks: 5, warmup_seconds: .5, idle_seconds: 1e0, time_limit_seconds: 60, threads: 2,
  seed: 3}
"""
    assert parse_study(text) == Study(
        "all of it",
        (Dataset("d", "a.csv", "body", "queue", "train", {"no": "not spam", "007": "Bond"}),),
        (ModelSpec("m", "features", {"features": "tfidf", "head": "boosting", "C": 0.001}, 2, 5, (4,), ("cuda",)),),
        (1, 8),
        ("cpu", "cuda:1"),
        Splits(3, 0.5, 100, 7, True),
        Protocol(1, 5, 0.5, 1.0, 60, 2, 3),
    )


@pytest.mark.parametrize(
    ("line", "dataset"),
    [
        ("tomatoes", Dataset("tomatoes", "tomatoes")),
        ("data/my tickets.csv", Dataset("my-tickets", "data/my tickets.csv")),
        ("hf:org/Name_1", Dataset("Name_1", "hf:org/Name_1")),
        ("{name: snips7}", Dataset("snips7", "snips7")),
        ("{source: a.jsonl}", Dataset("a", "a.jsonl")),
        ("2024.csv", Dataset("2024", "2024.csv")),
        ("{source: ../x.parquet, name: 2024}", Dataset("2024", "../x.parquet")),
    ],
)
def test_short_data_sets(line: str, dataset: Dataset) -> None:
    assert parse_study(f"name: x\ndatasets:\n  - {line}\nmodels: [majority]").datasets == (dataset,)


@pytest.mark.parametrize(
    ("line", "model"),
    [
        ("majority", ModelSpec("majority", "majority")),
        ("bow-lr", ModelSpec("bow-lr", "features", {"features": "bow"})),
        ("{name: bow-lr, splits: 3}", ModelSpec("bow-lr", "features", {"features": "bow"}, 3)),
        ("{name: bow-lr, C: 2}", ModelSpec("bow-lr", "features", {"features": "bow", "C": 2})),
        ("{name: b, like: bow-lr, C: 2}", ModelSpec("b", "features", {"features": "bow", "C": 2})),
        ("{like: bow-boosting, head: logistic, C: 2.5}",
         ModelSpec("features-bow-logistic-2-5", "features", {"features": "bow", "head": "logistic", "C": 2.5})),
        ("{kind: features, features: bow}", ModelSpec("bow-lr", "features", {"features": "bow"})),
        ("{kind: majority, name: m}", ModelSpec("m", "majority")),
    ],
)  # fmt: skip
def test_short_models(line: str, model: ModelSpec) -> None:
    assert parse_study(f"{HEAD}models:\n  - {line}").models == (model,)


BAD = [
    ("", "study.yaml is empty"),
    ("# nothing\n", "study.yaml is empty"),
    ("- a", "study.yaml:1:1: ['a'] is no study; allowed: keys name, datasets"),
    ("just text", "study.yaml:1:1: 'just text' is no study"),
    ("name: x\nname: y", "study.yaml:2:1: name is there twice; allowed: once; remedy: take out one; the other is at"),
    ("name: x\nmodels: [majority]", "study.yaml:1:1: a study without datasets"),
    ("name: x\ndatasets: [tomatoes]", "remedy: add models:"),
    (HEAD + "models: []", "study.yaml:3:9: a study without models"),
    (HEAD + "models: majority", "study.yaml:3:9: models='majority'; allowed: a list of models; remedy: begin each"),
    (HEAD + "models:", "study.yaml:3:8: models=nothing; allowed: a list"),
    (HEAD + "models: [majority]\nspilts:\n  count: 3", "study.yaml:4:1: the key spilts is not known; allowed: name, "
     "datasets, models, batch_sizes, devices, splits, protocol; remedy: did you mean splits?"),
    (HEAD + "models: [majority]\nsplits:\n  cuont: 3", "study.yaml:5:3: the key cuont is not known; allowed: count, "
     "train, test, seed, stratify; remedy: did you mean count?"),
    (HEAD + "models: [majority]\nsplits:\n  count: three", "study.yaml:5:10: count='three'; allowed: a whole number"),
    (HEAD + "models: [majority]\nsplits:\n  count: 2.5", "study.yaml:5:10: count=2.5; allowed: a whole number"),
    (HEAD + "models: [majority]\nsplits:\n  count: true", "study.yaml:5:10: count=true; allowed: a whole number"),
    (HEAD + "models: [majority]\nsplits:\n  train: true", "study.yaml:5:10: train=true; allowed: a number"),
    (HEAD + "models: [majority]\nsplits:\n  count:", "study.yaml:5:9: count=nothing; allowed: a whole number"),
    (HEAD + "models: [majority]\nsplits:\n  stratify: yes", "stratify='yes'; allowed: true or false"),
    (HEAD + "models: [majority]\nsplits:\n  count: 0", "study.yaml:5:10: count=0; allowed: 1 or more"),
    (HEAD + "models: [majority]\nsplits: 3", "study.yaml:4:9: 3 is no splits:"),
    (HEAD + "models: [majority]\nprotocol:\n  seconds: 3", "study.yaml:5:3: the key seconds is not known"),
    (HEAD + "models: [majority]\nbatch_sizes: 8", "study.yaml:4:14: batch_sizes=8; allowed: a list of whole numbers"),
    (HEAD + "models: [majority]\nbatch_sizes: [1, x]", "study.yaml:4:18: 1='x'; allowed: a whole number"),
    (HEAD + "models: [majority]\nbatch_sizes: [1, 0]", "study.yaml:4:14: batch_sizes=[1, 0]; allowed: one or more"),
    (HEAD + "models: [majority]\ndevices: [gpu]", "study.yaml:4:10: device 'gpu'; allowed: cpu, cuda, cuda:N, mps"),
    (HEAD + "models:\n  - majority\n  - majority", "study.yaml:5:5: name='majority' is there twice"),
    (HEAD + "models:\n  - bow-rl", "study.yaml:4:5: no model 'bow-rl' in the catalogue; allowed: majority, bow-lr"),
    (HEAD + "models:\n  - bow-rl", "remedy: did you mean bow-lr?"),
    (HEAD + "models:\n  - features", "remedy: write it as a mapping: {name: my-features, kind: features, ...}"),
    (HEAD + "models:\n  - {name: a, like: bow-rl}", "study.yaml:4:21: no model 'bow-rl' in the catalogue"),
    (HEAD + "models:\n  - {name: a, like: bow-lr, kind: http}", "study.yaml:4:29: like and kind; allowed: one of them"),
    (HEAD + "models:\n  - {name: mine}", "study.yaml:4:12: no model 'mine' in the catalogue"),
    (HEAD + "models:\n  - {splits: 3}", "study.yaml:4:5: a model without name and kind"),
    (HEAD + "models:\n  - [a]", "study.yaml:4:5: ['a'] is no model"),
    (HEAD + "models:\n  -", "nothing is no model"),
    (HEAD + "models:\n  - {name: a, kind: feature}", "study.yaml:4:21: kind='feature' is not known; allowed: majority, "
     "features, "),
    (HEAD + "models:\n  - {name: a, kind: feature}", "remedy: did you mean features?"),
    (HEAD + "models:\n  - {name: a, kind: features}", "study.yaml:4:5: features needs the option 'features'"),
    (HEAD + "models:\n  - name: a\n    kind: features\n    features: tfidf\n    head: logistik",
     "study.yaml:7:11: head='logistik'; allowed: logistic, boosting, xgboost"),
    (HEAD + "models:\n  - {name: a, like: bow-lr, haed: boosting}", "study.yaml:4:29: features has no option 'haed'"),
    (HEAD + "models:\n  - {name: a, like: bow-lr, haed: boosting}", "remedy: did you mean head?"),
    (HEAD + "models:\n  - {name: a, like: bow-lr, test_item: 3}", "remedy: did you mean test_items?"),
    (HEAD + "models:\n  - {name: a, like: bow-lr, options: {haed: 3}}", "study.yaml:4:39: features has no option"),
    (HEAD + "models:\n  - {name: a, like: bow-lr, options: {C: -3}}", "study.yaml:4:42: C=-3; allowed: a number above"),
    (HEAD + "models:\n  - {name: a, like: bow-lr, C: 3, options: {C: 3}}", "study.yaml:4:29: C is there twice"),
    (HEAD + "models:\n  - {name: a, like: bow-lr, options: 3}", "study.yaml:4:38: options=3; allowed: a mapping"),
    (HEAD + "models:\n  - {name: a b, kind: majority}", "study.yaml:4:12: name='a b'; allowed: letters, digits"),
    (HEAD + "models:\n  - {name: a, kind: majority, splits: 0}", "study.yaml:4:39: splits=0; allowed: 1 or more"),
    ("name: x\nmodels: [majority]\ndatasets: [{text: a}]", "study.yaml:3:12: a data set without source"),
    ("name: x\nmodels: [majority]\ndatasets: [[a]]", "study.yaml:3:12: ['a'] is no data set"),
    ("name: x\nmodels: [majority]\ndatasets: [{source: a.csv, txt: b}]", "study.yaml:3:28: the key txt is not known"),
    ("name: x\nmodels: [majority]\ndatasets: [{source: a.csv, descriptions: b}]", "3:42: descriptions='b'; allowed: a "
     "mapping"),
    ("name: ../x\nmodels: [majority]\ndatasets: [tomatoes]", "study.yaml:1:7: name='../x'; allowed: a name without /"),
    ("name: ..\nmodels: [majority]\ndatasets: [tomatoes]", "study.yaml:1:7: name='..'"),
    ("name: [", "study.yaml:1:8: while parsing a flow node"),
    ("name: a: b", "study.yaml:1:8: mapping values are not allowed here; allowed: YAML; remedy: quote text"),
    ("name: x\n\tdatasets: 4", "study.yaml:2:1: "),
    ("name: x\n\tdatasets: 4", "indent with spaces"),
    ("name: x\n---\nname: y", "study.yaml:2:1: expected a single document"),
    ("name: !!python/object/apply:os.system [ls]", "study.yaml:1:7: the tag tag:yaml.org,2002:python/object"),
    ("name: !!str x", "no tags"),
    ("a: &a [1]\nb: *a", "study.yaml:2:4: the alias *a; allowed: plain values"),
    ("a: &a [*a]", "study.yaml:1:8: the alias *a"),
    ("[" * 9999 + "]" * 9999, "study.yaml:1:41: more than 40 levels"),
    ("? [a]\n: b", "study.yaml:1:3: a key that is a list or mapping"),
    ("name: x\nbad: \0", "study.yaml:2: the character '\\x00'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD)
def test_what_is_wrong_is_told_with_its_line(text: str, message: str) -> None:
    with pytest.raises(StudyError) as caught:
        parse_study(text)
    assert message in str(caught.value)


def test_an_alias_bomb_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    with pytest.raises(StudyError, match="alias"):
        parse_study("\n".join(lines))


def test_an_option_that_is_called_as_a_key_of_a_model_has_its_place() -> None:
    recorded = Study("x", (Dataset("d", "d.csv"),), (ModelSpec("m", "made-up", {"splits": "x", "like": 1}, splits=2),))
    assert "options:" in render_study(recorded)
    assert parse_recorded(render_study(recorded)) == recorded
    with pytest.raises(StudyError, match=r"study.yaml:\d+:\d+: kind='made-up' is not known"):
        parse_study(render_study(recorded))


def test_the_template_runs_as_it_is(tmp_path: Path) -> None:
    study = parse_study(TEMPLATE)
    assert [each.name for each in study.models] == [
        "majority", "bow-lr", "tfidf-lr", "tfidf-char-lr", "wordllama-lr", "e5-lr",
    ]  # fmt: skip
    for dataset in study.datasets:
        draw(load(dataset, tmp_path), study.splits, study.splits.count - 1)


def test_the_template_shows_every_key() -> None:
    for made in (Dataset, ModelSpec, Splits, Protocol, Study):
        for key in made.__dataclass_fields__:
            assert re.search(rf"\b{key}:", TEMPLATE) or key == "options", key


def test_what_the_template_has_commented_out_is_right() -> None:
    """Take the # from its entries; kinds that need no checking here are whatever they are."""
    entries = re.sub(r"(?m)^(  )# (?=- |  +\S)", r"\1", TEMPLATE)
    try:
        study = parse_study(entries)
    except StudyError as error:
        missing = {"encoder", "smollm2-likelihood", "smollm2-reasoning-64"} - {*models.KINDS, *models.CATALOGUE}
        assert any(name in str(error) for name in missing), error
        pytest.skip(f"{missing} not there")
    assert len(study.models) == 12
    assert len(study.datasets) == 4


@pytest.mark.parametrize("name", ["citizens", "own_data", "tomatoes"])
def test_examples_can_be_run(name: str) -> None:
    text = (EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8")
    if "smollm2" in text and "smollm2-likelihood" not in models.CATALOGUE:
        pytest.skip("the catalogue has no SmolLM2")
    study = read_study(EXAMPLES / f"{name}.yaml")
    for dataset in study.datasets:
        for number in range(study.splits.count):
            assert not draw(load(dataset, EXAMPLES), study.splits, number).notes


def test_read_study_tells_what_is_wrong_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"cannot be read .*remedy: greeninfer bench init"):
        read_study(tmp_path / "gone.yaml")
    with pytest.raises(StudyError, match="cannot be read"):
        read_study(tmp_path)
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"name: x\nbad: caf\xe9\n")
    with pytest.raises(StudyError, match=r"mine.yaml:2: not UTF-8"):
        read_study(path)
    path.write_bytes(b"text,label\n" * 100_000)
    with pytest.raises(StudyError, match=r"more than 1000000 bytes.*name the data set in a study file"):
        read_study(path)
    path.write_bytes(b"\xef\xbb\xbf" + (HEAD + "models: [majority]").encode())
    assert read_study(path).name == "x"
    path.write_text("name: x\nspilts: 3")
    with pytest.raises(StudyError, match=r"mine.yaml:2:1: the key spilts"):
        read_study(path)


def test_errors_of_the_data_get_their_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: x\nmodels: [majority]\ndatasets:\n  - tomatoes\n  - source: a.csv\n    text: body\n")
    error = StudyError("a.csv has no column 'body'", "text, label", "name it", ("datasets", 1, "text"))
    located = locate(error, path)
    assert str(located) == "mine.yaml:6:11: a.csv has no column 'body'; allowed: text, label; remedy: name it"
    assert located.path == error.path
    assert str(locate(located, path)) == str(located)
    assert "mine.yaml:4:5: " in str(locate(StudyError("x", path=("datasets", 0, "source")), path))
    plain = StudyError("nowhere")
    assert locate(plain, path) is plain
    assert locate(error, tmp_path / "gone.yaml") is error


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("yes", "yes"), ("off", "off"), ("12:30", "12:30"), ("2024-01-01", "2024-01-01"),
        ("1e-3", 0.001), ("1_000", "1_000"), ("0x10", "0x10"), ("true", True), ("True", True), ("null", None),
        ("~", None), ("-5", -5), ("+.5", 0.5), ("5.", 5.0), (".", "."), ("1e", "1e"), ("9" * 5000, float("inf")),
        (".inf", float("inf")), ("inf", "inf"), ("=", "="), ("<<", "<<"),
    ],
)  # fmt: skip
def test_unquoted_scalars_are_what_yaml_1_2_says(text: str, value: object) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,8}(\.[a-z0-9]{1,3})?", fullmatch=True)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
seconds = st.floats(0.0, 1e6)
studies = st.builds(
    Study,
    st.text(),
    st.lists(
        st.builds(Dataset, names, st.text(), st.text(), st.text(), st.text(), st.dictionaries(st.text(), st.text())),
        min_size=1,
        max_size=3,
        unique_by=lambda each: each.name,
    ).map(tuple),
    st.lists(
        st.builds(
            ModelSpec,
            names,
            st.text(),
            st.dictionaries(st.text() | st.sampled_from(["splits", "options", "like", "no", "1"]), values, max_size=4),
            st.none() | st.integers(1, 9),
            st.none() | st.integers(1, 9),
            st.none() | st.just((1, 8)),
            st.none() | st.just(("cuda:1", "cpu")),
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda each: each.name,
    ).map(tuple),
    st.lists(st.integers(1, 99), min_size=1, max_size=3, unique=True).map(tuple),
    st.sampled_from([("cpu",), ("cuda:3", "mps")]),
    st.builds(
        Splits, st.integers(1, 99), st.integers(2, 99) | st.just(0.3), st.just(0.5), st.integers(), st.booleans()
    ),
    st.builds(Protocol, seconds, st.integers(1, 99), seconds, seconds, st.just(1.5), st.integers(1, 9), st.integers()),
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(studies)
def test_what_is_rendered_reads_back_the_same(study: Study) -> None:
    assert parse_recorded(render_study(study)) == study


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="name:x \n-[]{},'\"#&*!|>%@?\t\0é~0.e"))
def test_whatever_is_written_gives_a_study_or_a_study_error(text: str) -> None:
    for whole in (text, HEAD + "models: [majority]\n" + text, HEAD + "models:\n- " + text):
        try:
            parse_study(whole)
        except StudyError as error:
            assert "study.yaml" in str(error)


def test_rendered_is_plain_yaml_to_others(tmp_path: Path) -> None:
    options: dict[str, Any] = {"a": "no", "b": "1e-3", "c": "007", "d": [1, None], "e": "x: y"}
    study = Study("x", (Dataset("d", "d.csv"),), (ModelSpec("m", "k", options),))
    assert yaml.safe_load(render_study(study))["models"] == [{"name": "m", "kind": "k", **options}]

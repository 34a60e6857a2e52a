"""The rules and the configuration of Prometheus, as promtool sees them. The cases are in ``rules/``."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from greeninfer.dashboards import shipped

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed; pip install PyYAML")

PROMTOOL = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed: apt install prometheus"
)
CASES = sorted((Path(__file__).parent / "rules").glob("*.yaml"))


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(shipped()["prometheus/greeninfer.rules.yml"])["groups"]
    return [rule for group in groups for rule in group["rules"]]


@PROMTOOL
def test_prometheus_takes_rules_and_configuration(tmp_path: Path) -> None:
    for name in ("greeninfer.rules.yml", "prometheus.yml"):
        (tmp_path / name).write_bytes(shipped()[f"prometheus/{name}"])
    promtool("check", "config", tmp_path / "prometheus.yml")
    promtool("check", "rules", tmp_path / "greeninfer.rules.yml")
    (tmp_path / "greeninfer.rules.yml").write_text("groups: [{name: a, rules: [{record: a, expr: 'sum('}]}]")
    with pytest.raises(AssertionError, match="unclosed left parenthesis"):
        promtool("check", "config", tmp_path / "prometheus.yml")


@PROMTOOL
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_the_rules_do_what_the_case_says(case: Path) -> None:
    promtool("test", "rules", case)


def test_every_alert_is_seen_firing_and_not_firing() -> None:
    firing: dict[str, set[bool]] = {}
    for case in CASES:
        for test in yaml.safe_load(case.read_text())["tests"]:
            for look in test.get("alert_rule_test", ()):
                firing.setdefault(look["alertname"], set()).add(bool(look["exp_alerts"]))
    for rule in rules():
        if "alert" in rule:
            assert firing.get(rule["alert"]) == {True, False}, rule["alert"]


def test_every_recorded_series_is_looked_at() -> None:
    """By a case, or by an alert that a case is about."""
    text = "".join(case.read_text() for case in CASES)
    for rule in rules():
        if "record" in rule:
            asked = [other["expr"] for other in rules() if "alert" in other and rule["record"] in other["expr"]]
            assert rule["record"] in text or asked, rule["record"]


@pytest.mark.parametrize("rule", [rule for rule in rules() if "alert" in rule], ids=lambda rule: rule["alert"])
def test_an_alert_tells_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("Greeninfer")
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert "{{ $labels." in rule["annotations"]["summary"]
    assert rule["for"]


@pytest.mark.parametrize("rule", [rule for rule in rules() if "record" in rule], ids=lambda rule: rule["record"])
def test_a_recorded_name_says_what_it_is_summed_by(rule: dict[str, Any]) -> None:
    level = rule["record"].split(":")[0].replace("_", ", ")
    assert re.search(rf"sum by \({level}\)", rule["expr"]) or "job_instance_name:" in rule["expr"]

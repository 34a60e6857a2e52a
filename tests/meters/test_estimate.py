"""The power model against joules worked out by hand from hand-written /proc trees."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import Rig
from hypothesis import given
from hypothesis import strategies as st

from greeninfer._clock import SystemClock
from greeninfer._settings import Settings
from greeninfer.errors import MeterError, MeterUnavailable, SettingsError
from greeninfer.meters import estimate
from greeninfer.meters._power_models import AVERAGE, PowerModel, parse_cpuinfo, parse_platform, recognise
from greeninfer.meters.estimate import CpuTime, EstimateMeter, open_estimate, psutil_cpu_time

CASCADE_LAKE = """\
processor	: 0
vendor_id	: GenuineIntel
cpu family	: 6
model		: 85
model name	: Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz
stepping	: 7

processor	: 1
vendor_id	: GenuineIntel
cpu family	: 6
model		: 85
model name	: Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz
stepping	: 7
"""
COLUMNS = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"]
# proc_stat(5): idle and iowait are rest, steal is another guest, guest and guest_nice are in user and nice already.
BUSY = {"user", "nice", "system", "irq", "softirq"}


@dataclass
class Hand:
    """A machine whose clock, process and /proc/stat are moved by hand. One jiffy is 10 ms."""

    root: Path
    seconds: float = 1000.0
    own: float = 5.0
    jiffies: dict[str, int] = field(default_factory=lambda: dict(zip(COLUMNS, itertools.count(100, 7), strict=False)))
    cores: int = 2

    def __post_init__(self) -> None:
        self.write()
        (self.root / "cpuinfo").write_text(CASCADE_LAKE)

    def now(self) -> float:
        return self.seconds

    def unix(self) -> float:
        return 0.0

    def asleep(self) -> float:
        return 0.0

    def write(self) -> None:
        line = "cpu  " + " ".join(str(self.jiffies[column]) for column in COLUMNS)
        each = [f"cpu{core} 1 2 3 4 5 6 7 8 9 10" for core in range(self.cores)]
        (self.root / "stat").write_text("\n".join([line, *each, "intr 12345 0 0", "ctxt 270773", "btime 1", ""]))

    def move(self, seconds: float = 0.0, own: float = 0.0, **jiffies: int) -> None:
        self.seconds += seconds
        self.own += own
        for column, count in jiffies.items():
            self.jiffies[column] += count
        self.write()

    def settings(self, power_model: str = "1:3") -> Settings:
        return Settings(proc_root=str(self.root), power_model=power_model)

    def open(self, power_model: str = "1:3") -> EstimateMeter:
        return open_estimate(self.settings(power_model), self, process_seconds=lambda: self.own)


def contract_rig(root: Path) -> Rig:
    """Two cores, one of them always busy with a thread of ours: 2 x 1 W at rest and 3 - 1 W more."""
    hand = Hand(root)
    meter = hand.open("1:3")
    user, own, lost = hand.jiffies["user"], hand.own, False

    def run(seconds: float) -> None:
        hand.jiffies["user"] = user + int((hand.own + seconds - own) * 100 + 1e-6)
        hand.seconds += seconds
        hand.own += seconds
        if not lost:
            hand.write()

    def lose() -> None:
        nonlocal lost
        lost = True
        (root / "stat").unlink()

    def find() -> None:
        nonlocal lost
        lost = False
        hand.write()

    return Rig(meter, (4.0,), run, lose, find)


@pytest.fixture
def hand(tmp_path: Path) -> Hand:
    return Hand(tmp_path)


@pytest.fixture(autouse=True)
def a_jiffy_is_ten_milliseconds() -> None:
    if sys.platform == "linux" and os.sysconf("SC_CLK_TCK") != 100:
        pytest.skip("the hand-written trees count in USER_HZ = 100")


def joules(meter: EstimateMeter) -> float:
    (reading,) = meter.read()
    assert reading.fault == ""
    return reading.joules


def test_joules_are_idle_for_all_cores_and_the_rest_for_busy_time(hand: Hand) -> None:
    meter = hand.open("1:3")
    assert joules(meter) == 0.0
    # 2 s on 2 cores at 1 W is 4 J; busy (100 + 10 + 20 + 3 + 2) jiffies = 1.35 core seconds at 3 - 1 W is 2.7 J.
    hand.move(
        seconds=2.0,
        user=100,
        nice=10,
        system=20,
        idle=200,
        iowait=25,
        irq=3,
        softirq=2,
        steal=40,
        guest=30,
        guest_nice=5,
    )
    (reading,) = meter.read()
    assert reading.joules == pytest.approx(6.7, abs=1e-9)
    assert reading.instant == 1002.0
    assert reading.domain == meter.info.domains[0]


@pytest.mark.parametrize("column", COLUMNS)
def test_only_our_own_busy_time_counts(hand: Hand, column: str) -> None:
    meter = hand.open("0.5:3.5")
    hand.move(**{column: 50})
    assert joules(meter) == pytest.approx(1.5 if column in BUSY else 0.0, abs=1e-9)


def test_a_read_that_was_left_out_loses_nothing(hand: Hand, tmp_path: Path) -> None:
    often, seldom = hand.open(), hand.open()
    for _ in range(50):
        hand.move(seconds=0.3, user=17, idle=40)
        joules(often)
    assert joules(often) == pytest.approx(joules(seldom), abs=1e-9)
    assert joules(seldom) == pytest.approx(50 * (0.3 * 2 * 1 + 0.17 * 2), abs=1e-9)


def test_own_time_fills_in_between_jiffies(hand: Hand) -> None:
    """One thread of ours, always busy, read each 3 ms: the truth is a straight line, /proc/stat a staircase."""
    meter = hand.open("0:2")
    user = hand.jiffies["user"]
    for tick in range(1, 150):
        seconds = tick * 0.003
        hand.jiffies["user"] = user + int(seconds * 100 + 1e-6)
        hand.move(seconds=0.003, own=0.003)
        assert joules(meter) == pytest.approx(2 * seconds, abs=1e-9)


def test_own_time_that_the_kernel_counts_later_is_not_counted_twice(hand: Hand) -> None:
    meter = hand.open("0:1")
    hand.move(own=0.008)
    assert joules(meter) == pytest.approx(0.008)
    hand.move(user=1)
    assert joules(meter) == pytest.approx(0.010)
    hand.move(own=0.02, user=2)
    assert joules(meter) == pytest.approx(0.030)


def test_other_processes_come_from_the_kernel_alone(hand: Hand) -> None:
    meter = hand.open("0:1")
    for step in range(1, 20):
        hand.move(system=2)
        assert joules(meter) == pytest.approx(0.02 * step)


def test_own_clock_that_runs_too_fast_cannot_run_away(hand: Hand) -> None:
    """Stolen time is in a process's clock on some virtual machines, and never in the busy columns."""
    meter = hand.open("0:1")
    for step in range(1, 80):
        hand.move(own=0.03, user=1)
        # One jiffy for each of 2 cores is how far it may run ahead.
        assert 0.01 * step - 1e-9 <= joules(meter) <= 0.01 * step + 0.02 + 1e-9


@given(st.lists(st.tuples(st.floats(0.0, 0.2), st.integers(0, 12)), min_size=1, max_size=60))
def test_whatever_happens_it_rises_and_stays_with_the_kernel(moves: list[tuple[float, int]]) -> None:
    stat = own = 0.0
    cpu = CpuTime(lambda: stat, cores=4, period_seconds=0.01, source="a list")
    clock = SimpleNamespace(now=lambda: 0.0, asleep=lambda: 0.0, unix=lambda: 0.0)
    meter = EstimateMeter(PowerModel("", 0.0, 1.0, ""), "", cpu, clock, lambda: own)
    before = 0.0
    for seconds, jiffies in moves:
        own += seconds
        stat += jiffies * 0.01
        now = joules(meter)
        assert now >= before
        assert stat - 1e-9 <= now <= stat + 0.04 + 1e-9
        before = now


def test_a_counter_that_starts_anew_is_a_reset_and_not_a_loss(hand: Hand) -> None:
    meter = hand.open("1:3")
    hand.move(seconds=1.0, user=100)
    assert joules(meter) == pytest.approx(2.0 + 2.0)
    for column in COLUMNS:
        hand.jiffies[column] = 1
    hand.move(seconds=1.0, own=0.25)
    (reading,) = meter.read()
    assert reading.fault == "reset"
    # All that is known of this second: 2 J of rest and our own 0.25 s.
    assert reading.guess_joules == pytest.approx(2.0 + 0.5)
    assert reading.joules == pytest.approx(4.0 + 2.5)
    hand.move(seconds=1.0, user=50)
    assert joules(meter) == pytest.approx(6.5 + 2.0 + 1.0)


def test_a_small_step_back_is_held_and_no_reset(hand: Hand) -> None:
    meter = hand.open("0:1")
    hand.move(user=10)
    assert joules(meter) == pytest.approx(0.10)
    hand.move(user=-1)
    assert joules(meter) == pytest.approx(0.10)
    hand.move(user=2)
    assert joules(meter) == pytest.approx(0.11)


def test_a_process_clock_that_starts_anew_takes_nothing_away(hand: Hand) -> None:
    meter = hand.open("0:1")
    hand.move(own=0.009)
    assert joules(meter) == pytest.approx(0.009)
    hand.own = 0.0
    assert joules(meter) == pytest.approx(0.009)
    hand.move(own=0.0005, user=1)
    assert joules(meter) == pytest.approx(0.010)


def test_a_closed_meter_is_not_read(hand: Hand) -> None:
    meter = hand.open()
    meter.close()
    with pytest.raises(ValueError, match="closed"):
        meter.read()


@pytest.mark.parametrize(
    ("breakage", "reason"),
    [
        (lambda path: path.unlink(), "vanished"),
        (lambda path: path.write_text(""), "garbage"),
        (lambda path: path.write_text("cpu  1 2 3\n"), "garbage"),
        (lambda path: path.write_text("cpu  1 2 three 4 5 6 7 8 9 10\n"), "garbage"),
        (lambda path: path.write_text("cpu  1 2 -3 4 5 6 7 8 9 10\n"), "garbage"),
        (lambda path: path.write_text("intr 1 2 3 4 5 6 7 8 9 10\n"), "garbage"),
        (lambda path: (path.unlink(), path.mkdir()), "unreadable"),
    ],
)
def test_a_failed_read_says_why_and_the_next_one_covers_it(
    hand: Hand, breakage: Callable[[Path], object], reason: str
) -> None:
    meter = hand.open("1:3")
    hand.move(seconds=1.0, user=10)
    breakage(hand.root / "stat")
    with pytest.raises(MeterError) as caught:
        meter.read()
    assert (caught.value.meter, caught.value.reason) == ("estimate", reason)
    if (hand.root / "stat").is_dir():
        (hand.root / "stat").rmdir()
    hand.move(seconds=1.0, user=10)
    assert joules(meter) == pytest.approx(2 * 2 * 1 + 0.2 * 2)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_we_may_not_read_is_permission(hand: Hand) -> None:
    meter = hand.open()
    (hand.root / "stat").chmod(0)
    with pytest.raises(MeterError) as caught:
        meter.read()
    assert caught.value.reason == "permission"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no"),
        ("", "not what Linux writes"),
        ("cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n", "counts nothing"),
    ],
)
def test_no_cpu_time_no_meter(tmp_path: Path, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / "stat").write_text(content)
    with pytest.raises(MeterUnavailable, match=says) as caught:
        open_estimate(Settings(proc_root=str(tmp_path)), SystemClock())
    assert caught.value.meter == "estimate"


def test_it_says_what_it_is(hand: Hand) -> None:
    info = hand.open(power_model="").info
    assert [domain.id for domain in info.domains] == ["estimate/0/cpu"]
    assert info.domains[0].device == "cpu"
    assert (info.name, info.quality, info.gain, info.period_seconds) == ("estimate", "estimated", (0.6, 1.7), 0.01)
    assert info.source == (
        "power model, no sensor: Cascade Lake, 0.6903 to 4.063 W per logical core (Cloud Carbon Footprint 2026-03 "
        f"from SPECpower), 2 logical cores, all of {hand.root}/stat"
    )


def test_the_recognised_processor_sets_the_watts(hand: Hand) -> None:
    meter = hand.open(power_model="")
    hand.move(seconds=10.0, user=500)
    assert joules(meter) == pytest.approx(10 * 2 * 0.6903 + 5 * (4.063 - 0.6903))


def test_an_unknown_processor_takes_the_average_and_says_so(hand: Hand) -> None:
    (hand.root / "cpuinfo").write_text("vendor_id : GenuineIntel\ncpu family : 6\nmodel : 186\nmodel name : i7-1360P\n")
    meter = hand.open(power_model="")
    assert "processor not recognised (i7-1360P), average" in meter.info.source
    hand.move(seconds=1.0, user=100)
    assert joules(meter) == pytest.approx(2 * 0.74 + 1 * (3.5 - 0.74))


def test_a_root_without_cpuinfo_never_takes_this_machine_for_it(hand: Hand) -> None:
    (hand.root / "cpuinfo").unlink()
    assert "not recognised (it does not say its name)" in hand.open(power_model="").info.source


def test_a_model_of_the_user_goes_before_the_table(hand: Hand) -> None:
    assert "setting power_model, 0.25 to 9 W" in hand.open(power_model="0.25:9").info.source


@pytest.mark.parametrize("text", ["3", "1:2:3", "a:b", "-1:3", "3:1", "0:0", "nan:3", "1:inf", ":", "1:", " ", "1;3"])
def test_a_model_that_makes_no_sense_is_refused(hand: Hand, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        hand.open(power_model=text)
    message = str(caught.value)
    assert f"power_model={text!r}" in message
    assert "allowed: " in message
    assert "remedy: " in message


# Vendor, family, model and stepping as these processors report them; "" where the table must not know them.
X86 = [
    ("GenuineIntel", 6, 45, 7, "Intel(R) Xeon(R) CPU E5-2670 0 @ 2.60GHz", "Sandy Bridge"),
    ("GenuineIntel", 6, 63, 2, "Intel(R) Xeon(R) CPU E5-2666 v3 @ 2.90GHz", "Haswell"),
    ("GenuineIntel", 6, 79, 1, "Intel(R) Xeon(R) CPU E5-2686 v4 @ 2.30GHz", "Broadwell"),
    ("GenuineIntel", 6, 85, 4, "Intel(R) Xeon(R) Platinum 8175M CPU @ 2.50GHz", "Skylake"),
    ("GenuineIntel", 6, 85, 7, "Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz", "Cascade Lake"),
    ("GenuineIntel", 6, 85, 11, "Intel(R) Xeon(R) Platinum 8380HL CPU @ 2.90GHz", ""),
    ("GenuineIntel", 6, 158, 10, "Intel(R) Xeon(R) E-2176G CPU @ 3.70GHz", "Coffee Lake"),
    ("GenuineIntel", 6, 158, 9, "Intel(R) Core(TM) i7-7700 CPU @ 3.60GHz", ""),
    ("GenuineIntel", 6, 106, 6, "Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz", "Ice Lake"),
    ("GenuineIntel", 6, 143, 8, "Intel(R) Xeon(R) Platinum 8488C", "Sapphire Rapids"),
    ("GenuineIntel", 6, 207, 2, "INTEL(R) XEON(R) PLATINUM 8592+", "Emerald Rapids"),
    ("GenuineIntel", 6, 173, 1, "Intel(R) Xeon(R) 6980P", "Granite Rapids"),
    ("GenuineIntel", 6, 151, 2, "12th Gen Intel(R) Core(TM) i9-12900K", ""),
    ("AuthenticAMD", 23, 1, 2, "AMD EPYC 7571", "EPYC 1st Gen (Zen)"),
    ("AuthenticAMD", 23, 1, 1, "AMD Ryzen 7 1700 Eight-Core Processor", ""),
    ("AuthenticAMD", 23, 49, 0, "AMD EPYC 7R32", "EPYC 2nd Gen (Zen 2)"),
    ("AuthenticAMD", 23, 49, 0, "AMD Ryzen Threadripper 3990X 64-Core Processor", ""),
    ("AuthenticAMD", 25, 1, 1, "AMD EPYC 7763 64-Core Processor", "EPYC 3rd Gen (Zen 3)"),
    ("AuthenticAMD", 25, 33, 0, "AMD Ryzen 9 5950X 16-Core Processor", ""),
    ("AuthenticAMD", 25, 17, 1, "AMD EPYC 9R14", "EPYC 4th Gen (Zen 4)"),
    ("AuthenticAMD", 25, 160, 2, "AMD EPYC 9754 128-Core Processor", "EPYC 4th Gen (Zen 4c)"),
    ("AuthenticAMD", 26, 2, 1, "AMD EPYC 9655 96-Core Processor", "EPYC 5th Gen (Zen 5)"),
    ("AuthenticAMD", 26, 17, 0, "AMD EPYC 9965 192-Core Processor", "EPYC 5th Gen (Zen 5c)"),
    ("AuthenticAMD", 26, 68, 0, "AMD Ryzen 9 9950X 16-Core Processor", ""),
]


@pytest.mark.parametrize(("vendor", "family", "model", "stepping", "name", "expected"), X86)
def test_processors_are_recognised(
    vendor: str, family: int, model: int, stepping: int, name: str, expected: str
) -> None:
    found = recognise(
        parse_cpuinfo(
            f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\n"
            f"model name\t: {name}\nstepping\t: {stepping}\nmicrocode\t: 0x1\n"
        )
    )
    assert (found.name if found else "") == expected


def test_arm_processors_go_by_implementer_and_part() -> None:
    text = "processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: {}\n"
    n1 = recognise(parse_cpuinfo(text.format("0xd0c")))
    assert n1 is not None
    assert n1.name == "Neoverse N1"
    assert recognise(parse_cpuinfo(text.format("0xd0b"))) is None


def test_windows_names_the_processor_in_words() -> None:
    found = recognise(parse_platform("Intel64 Family 6 Model 85 Stepping 7, GenuineIntel"))
    assert found is not None
    assert found.name == "Cascade Lake"
    assert recognise(parse_platform("arm")) is None
    assert recognise(parse_cpuinfo("")) is None


# ccf-coefficients, output/coefficients-aws-use.csv, commit b0032d9.
CCF = """\
Broadwell,0.7128342245989305,3.685327540106952
Cascade Lake,0.6902978319127387,4.063193520161689
Coffee Lake,1.138425925925926,5.421759259259259
EPYC 1st Gen,0.8467881944444444,2.6041666666666665
EPYC 2nd Gen,0.4742621527777777,1.6929615162037035
EPYC 3rd Gen,0.45562453497023814,1.957333519345238
EPYC 4th Gen,0.7391482469512195,2.282155106707317
Emerald Rapids,0.8140104166666666,4.48203125
Granite Rapids,0.5815883902616279,2.5274707237711422
Haswell,1.8573529411764707,5.595383986928105
Ice Lake,0.766796875,3.7582031249999996
Ivy Bridge,1.7074305555555556,5.5569444444444445
Sandy Bridge,2.212243200231481,8.630870594765684
Sapphire Rapids,1.0362861003136936,4.160476336606656
Skylake,0.6129888539040325,4.104170352960531
"""
# SPECpower_ssj2008: watts at 100 %, watts at active idle, threads; data/SPECpower-2026-03-09.csv, same commit.
SPECPOWER = {
    "EPYC 5th Gen (Zen 5)": [
        (931, 130, 512),  # Quanta D44N-1U, 2 x 9755
        (449, 76.3, 256),  # Quanta S44NL-1U, 9755
        (380, 71.9, 192),  # Lenovo SR655 V3, 9655
        (383, 73.6, 192),
    ],
    "EPYC 5th Gen (Zen 5c)": [
        (800, 150, 768),  # ASUSTeK RS720A-E13-RS8U, 2 x 9965
        (800, 157, 768),
        (952, 151, 768),  # Supermicro AS-5126GS-TNRT, 2 x 9965
        (854, 159, 768),  # Supermicro AS-2126HS-TN, 2 x 9965
        (432, 86.6, 384),  # xFusion 2158H V8, 9965
        (834, 128, 768),  # Quanta D44N-1U, 2 x 9965
        (365, 71.6, 320),  # Lenovo SR655 V3, 9845
        (365, 72.8, 320),
        (714, 124, 640),  # Lenovo SR665 V3, 2 x 9845
        (712, 115, 640),
        (696, 118, 640),
        (714, 161, 640),  # Lenovo SR675 V3, 2 x 9845
        (716, 167, 640),
        (1557, 267, 1280),  # Lenovo SD535 V3, 4 x 9845
        (1566, 280, 1280),
    ],
    "Neoverse N1": [(268, 79.0, 128), (150, 78.2, 128)],  # GIGABYTE R152-P31, Altra Max M128-30
}


def power_models() -> Iterator[PowerModel]:
    texts = [
        f"vendor_id: {vendor}\ncpu family: {family}\nmodel: {model}\nmodel name: {name}\nstepping: {stepping}\n"
        for vendor, family, model, stepping, name, _ in X86
    ]
    texts.append("CPU implementer: 0x41\nCPU part: 0xd0c\n")
    texts.append("vendor_id: GenuineIntel\ncpu family: 6\nmodel: 62\nmodel name: E5-2670 v2\nstepping: 4\n")
    for text in texts:
        found = recognise(parse_cpuinfo(text))
        if found is not None:
            yield found


def test_every_coefficient_is_the_published_one() -> None:
    published = {}
    for line in CCF.splitlines():
        name, idle_watts, full_watts = line.split(",")
        published[name] = (float(idle_watts), float(full_watts))
    for name, rows in SPECPOWER.items():
        idle_watts = sum(idle / threads for _, idle, threads in rows) / len(rows)
        full_watts = sum(full / threads for full, _, threads in rows) / len(rows)
        published[name] = (idle_watts, full_watts)
    seen = set()
    for model in power_models():
        name = model.name if model.name in published else model.name.split(" (")[0]
        assert (model.idle_watts, model.full_watts) == pytest.approx(published[name], rel=5e-4), model.name
        seen.add(name)
    assert seen == set(published)
    assert (AVERAGE.idle_watts, AVERAGE.full_watts) == (0.74, 3.5)


@pytest.mark.parametrize(
    ("times", "busy_seconds"),
    [
        ({"user": 10.0, "nice": 1.0, "system": 5.0, "idle": 90.0, "iowait": 7.0, "irq": 0.5, "softirq": 0.25}, 16.75),
        ({"user": 10.0, "system": 5.0, "idle": 90.0, "interrupt": 1.0, "dpc": 2.0}, 15.0),  # Windows
        ({"user": 10.0, "nice": 2.0, "system": 5.0, "idle": 90.0}, 17.0),  # macOS
    ],
)
def test_psutil_counts_busy_time_on_every_system(times: dict[str, float], busy_seconds: float) -> None:
    cpu = psutil_cpu_time(lambda: SimpleNamespace(**times, steal=8.0, guest=3.0), cores=4)
    assert cpu.busy_seconds() == busy_seconds
    assert cpu.cores == 4


def test_without_psutil_the_remedy_is_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(MeterUnavailable) as caught:
        estimate._open_psutil()
    assert caught.value.remedy == "pip install 'greeninfer[estimate]'"


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="there is no /proc/stat here")
def test_psutil_says_what_proc_stat_says() -> None:
    pytest.importorskip("psutil", reason="psutil is not installed")
    user, nice, system, _, _, irq, softirq = Path("/proc/stat").read_text().split()[1:8]
    before = (int(user) + int(nice) + int(system) + int(irq) + int(softirq)) / os.sysconf("SC_CLK_TCK")
    cpu = estimate._open_psutil()
    # Between the two reads no more can pass than a minute on all cores.
    assert before <= cpu.busy_seconds() + 0.05 <= before + 60.0 * cpu.cores


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="there is no /proc/stat here")
def test_this_machine_stays_between_rest_and_full_load() -> None:
    clock = SystemClock()
    meter = open_estimate(Settings(power_model="1:3"), clock)
    (first,) = meter.read()
    burnt = time.process_time()
    while time.process_time() - burnt < 0.05:
        pass
    (last,) = meter.read()
    cores = sum(line.startswith("cpu") for line in Path("/proc/stat").read_text().splitlines()) - 1
    seconds = last.instant - first.instant
    spent = last.joules - first.joules
    # 50 ms of our own at 2 W above rest; nobody can be busier than all cores, give or take one jiffy each.
    assert cores * seconds + 0.05 * 2 * 0.5 <= spent <= cores * seconds * 3 + 2 * 0.02 * cores
    meter.close()
    meter.close()

"""One measurement on a host at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from greeninfer.bench._host_lock import default_lock, host_to_ourselves
from greeninfer.errors import ResultsError


def test_a_second_holder_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with (
        host_to_ourselves(lock),
        pytest.raises(ResultsError, match=f"it holds {lock}.*fuser {lock}"),
        host_to_ourselves(lock),
    ):
        pass
    with host_to_ourselves(lock):
        pass


def test_it_is_let_go_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), host_to_ourselves(tmp_path / "lock"):
        raise RuntimeError
    with host_to_ourselves(tmp_path / "lock"):
        pass


def test_a_process_that_inherits_it_holds_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with host_to_ourselves(lock) as descriptors:
        child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, pass_fds=descriptors)
    try:
        with pytest.raises(ResultsError), host_to_ourselves(lock):
            pass
    finally:
        child.communicate(b"\n")
    with host_to_ourselves(lock):
        pass


def test_other_users_may_lock_the_file_and_not_write_it(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with host_to_ourselves(tmp_path / "lock"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o644


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ResultsError, match="TMPDIR"), host_to_ourselves(tmp_path / "lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_the_default_is_one_file_for_the_whole_host() -> None:
    assert default_lock() == default_lock()
    assert default_lock().name == "greeninfer-bench.lock"

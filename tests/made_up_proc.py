"""A /proc written by hand: how busy the machine is, which processes there are, and who has bound which name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

SOCKETS = """Num       RefCount Protocol Flags    Type St Inode Path
000000006be64ccc: 00000003 00000000 00000000 0001 03  1573
00000000a1b2c3d4: 00000002 00000000 00010000 0001 01 18209 /run/systemd/journal/stdout
00000000a1b2c3d5: 00000002 00000000 00000000 0002 01 18210 @/tmp/.X11-unix/X0
"""


class Proc:
    """The tree, and the clocks that are no files.

    Attributes:
        cpu: CPU seconds by process.
        names: addresses in the order in which they were bound, with their letterboxes.
        broken: what binding a name raises, if anything.
    """

    def __init__(self, root: Path, cores: int = 32) -> None:
        self.root = root
        self.cores = cores
        self.cpu: dict[int, float] = {}
        self.names: dict[bytes, Box] = {}
        self.broken: OSError | None = None
        self._namespaces: dict[str, Path] = {}
        (root / "net").mkdir()
        self.busy(0.0)
        self.list_names()

    def busy(self, seconds: float) -> None:
        each = "".join(f"cpu{core} 1 2 3 4 5 6 7 0 0 0\n" for core in range(self.cores))
        self.write(f"cpu  {round(seconds * 100)} 0 0 999999 55 0 0 0 0 0\n{each}intr 1\n")

    def write(self, text: str) -> None:
        (self.root / "stat").write_text(text)

    def begin(self, *pids: int, start: int = 4711, state: str = "S", namespace: str = "host") -> None:
        """Let processes run; those that are there already change."""
        place = self._namespaces.setdefault(namespace, self.root / f"namespace-{namespace}")
        place.touch()
        for pid in pids:
            folder = self.root / str(pid)
            (folder / "ns").mkdir(parents=True, exist_ok=True)
            (folder / "ns/pid").unlink(missing_ok=True)
            (folder / "ns/pid").symlink_to(place)
            # A name may hold anything, so fields are counted from the last bracket on.
            rest = [state, *["1"] * 18, str(start), *["0"] * 30]
            (folder / "stat").write_text(f"{pid} (python) S 9 (x) {' '.join(rest)}\n")
            self.cpu.setdefault(pid, 0.0)

    def end(self, pid: int, *, copied: bool = False) -> None:
        """End a process; a ``copied`` name lives on in a forked child."""
        (self.root / str(pid) / "stat").unlink()
        self.cpu.pop(pid)
        if not copied:
            self.names = {name: box for name, box in self.names.items() if f"/{pid}/".encode() not in name}
            self.list_names()

    def of(self, pid: int) -> str:
        """Return the tree as this process sees it."""
        link = self.root / "self"
        link.unlink(missing_ok=True)
        link.symlink_to(str(pid))
        return str(self.root)

    def inode(self, namespace: str = "host") -> int:
        return self._namespaces[namespace].stat().st_ino

    def list_names(self, more: Iterable[str] = ()) -> None:
        shown = [b"@" + name[1:] for name in self.names] + [name.encode() for name in more]
        head = b"00000000deadbeef: 00000002 00000000 00000000 0002 01 54321 "
        text = SOCKETS.encode() + b"".join(head + name + b"\n" for name in shown)
        (self.root / "net/unix").write_bytes(text)

    def bind(self, address: bytes) -> Box:
        if self.broken is not None:
            raise self.broken
        if address in self.names:
            raise OSError(98, "Address already in use")
        box = self.names[address] = Box(self, address)
        self.list_names()
        return box

    def process_cpu(self, pid: int) -> float | None:
        return self.cpu.get(pid)


class Box:
    """A letterbox of this made-up machine."""

    def __init__(self, proc: Proc, address: bytes) -> None:
        self._proc = proc
        self._address = address
        self.letters: list[tuple[bytes, bytes]] = []
        self.sent: dict[bytes, int] = defaultdict(int)

    def send(self, address: bytes, data: bytes) -> None:
        self.sent[address] += 1
        if address in self._proc.names:
            self._proc.names[address].letters.append((self._address, data))

    def take(self) -> list[tuple[bytes, bytes]]:
        letters, self.letters = self.letters, []
        return letters

    def close(self) -> None:
        if self._proc.names.get(self._address) is self:
            del self._proc.names[self._address]
            self._proc.list_names()

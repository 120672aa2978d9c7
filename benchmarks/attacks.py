"""Runs attack programs through the sandbox while canaries watch, and prints what each did as one JSON line.

Usage: python benchmarks/attacks.py --programs DIR [--container]

`--container` first refuses itself what container runtimes refuse (namespaces, mounts). Needs the
standard library and rlvr's sources only, so that an interpreter any user can start will do.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import shutil
import socket
import struct
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rlvr.code_tests import CallTest, CodeTests
from rlvr.rewards.sandbox.child import Limits, SandboxLost
from rlvr.rewards.sandbox.judge import Outcome
from rlvr.rewards.sandbox.pool import SandboxPool

CANARY, READ_ONLY = Path("/tmp/rlvr-canary"), Path("/tmp/rlvr-canary-ro")
PORT = 47111
CPU_S = 2
REFUSED_BY_CONTAINERS = (272, 165, 155, 308, 166, 161)  # unshare mount pivot_root setns umount2 chroot


def refuse_namespaces() -> None:
    """Install a filter like that of container runtimes: no namespaces, no mounts, by any call; ENOSYS for clone3."""
    errno_perm, errno_nosys, allow = 0x00050001, 0x00050026, 0x7FFF0000
    program = [(0x20, 0, 0, 0)]
    for number in REFUSED_BY_CONTAINERS:
        program += [(0x15, 0, 1, number), (0x06, 0, 0, errno_perm)]
    program += [(0x15, 0, 1, 435), (0x06, 0, 0, errno_nosys)]
    program += [(0x15, 0, 3, 56), (0x20, 0, 0, 16), (0x45, 0, 1, 0x7E020000), (0x06, 0, 0, errno_perm)]
    program += [(0x06, 0, 0, allow)]
    code = b"".join(struct.pack("<HBBI", *step) for step in program)
    held = ctypes.create_string_buffer(code, len(code))
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(38, 1, 0, 0, 0)
    bpf = struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(held))
    if library.syscall(317, 1, 0, ctypes.c_char_p(bpf)) != 0:
        raise OSError(ctypes.get_errno(), "seccomp refused")


class Canaries:
    """A secret, a folder anyone may write, and listeners; `seen` names what was touched."""

    def __init__(self) -> None:
        for folder in (CANARY, READ_ONLY):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o755)
        CANARY.chmod(0o1777)
        (CANARY / "target.txt").write_text("untouched")
        (READ_ONLY / "secret.txt").write_text("secret-canary")
        os.environ["CANARY_TOKEN"] = "secret-canary"
        self.seen: list[str] = []
        tcp = socket.create_server(("127.0.0.1", PORT))
        unix = socket.socket(socket.AF_UNIX)
        unix.bind("\0rlvr_canary")
        unix.listen()
        for name, listener in (("tcp", tcp), ("unix", unix)):
            threading.Thread(target=self._listen, args=(name, listener), daemon=True).start()
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", PORT))
        threading.Thread(target=self._datagrams, args=(udp,), daemon=True).start()

    def _listen(self, name: str, listener: socket.socket) -> None:
        while True:
            listener.accept()
            self.seen.append(f"connection on {name}")

    def _datagrams(self, listener: socket.socket) -> None:
        while listener.recv(100):
            self.seen.append("datagram")

    def touched(self) -> list[str]:
        """Return what was touched since the last call."""
        found, self.seen = self.seen, []
        found += [f"file {name}" for name in os.listdir(CANARY) if name != "target.txt"]
        if (CANARY / "target.txt").read_text() != "untouched":
            found.append("target.txt changed")
        return found


def problem(seed: int) -> CodeTests:
    """Return ten calls of a function that cannot be guessed."""
    rng = random.Random(seed)
    pairs = [(rng.randrange(10**6), rng.randrange(10**6)) for _ in range(10)]
    calls = [
        CallTest(expression=f"mystery({a}, {b})", expected=str((a * 7919 + b * 104729) ^ 0x5BD1)) for a, b in pairs
    ]
    return CodeTests(calls=tuple(calls))


def _family(top: int) -> set[int]:
    """Process ids of `top` and all below it."""
    known, found = {top}, {top}
    while found:
        children: set[int] = set()
        for pid in found:
            try:
                children |= {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
            except OSError:
                continue
        found = children - known
        known |= children
    return known


def attempt(pool: SandboxPool, program: str, seed: int, canaries: Canaries) -> dict[str, object]:
    """Run one program, then an honest one on the same worker, and tell what came of both."""
    began = time.monotonic()
    try:
        outcome = pool.submit(problem(seed), program).result()
    except SandboxLost as error:
        outcome = Outcome(passed=0, total=10, failure="lost", message=str(error))
    seconds = time.monotonic() - began
    honest = "def mystery(a, b):\n    return (a * 7919 + b * 104729) ^ 0x5BD1\n"
    after = pool.submit(problem(seed + 1), honest).result()
    leaks = [line for line in outcome.printed.splitlines() if "LEAK" in line or "secret-canary" in line]
    return {
        "rewarded": outcome.passed == outcome.total and not outcome.failure,
        "failure": outcome.failure,
        "message": outcome.message,
        "seconds": seconds,
        "seen": canaries.touched() + leaks,
        "honest_after": after.passed == after.total,
    }


def main() -> None:
    """Run every program in the folder and print a line for each, and one for the machine first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=Path, required=True)
    parser.add_argument("--container", action="store_true")
    given = parser.parse_args()
    canaries = Canaries()
    if given.container:
        refuse_namespaces()
    pool = SandboxPool(workers=1, limits=Limits(cpu_s=CPU_S))
    print(json.dumps({"isolation": str(pool.isolation()), "uid": os.getuid()}), flush=True)
    before = len(_family(os.getpid()))
    for seed, path in enumerate(sorted(given.programs.glob("*.py"))):
        program = path.read_bytes().decode("utf-8", errors="replace")
        must = next(line.split()[-1] for line in program.splitlines() if line.startswith("# must:"))
        found = attempt(pool, program, 10 * seed, canaries)
        found["left_behind"] = len(_family(os.getpid())) - before
        print(json.dumps({"program": path.stem, "must": must, **found}), flush=True)
    pool.close()
    for folder in (CANARY, READ_ONLY):
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

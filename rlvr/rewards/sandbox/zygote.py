"""The warm interpreter: confines itself once, then forks a confined process for every run the judge asks for.

Started by `process.py` as `python -s -S -P -c ...` with an empty environment. It never sees a program, an input or an
expected value: those go from the judge to the forked process through pipes of their own.
"""

from __future__ import annotations

import builtins
import ctypes
import gc
import importlib
import json
import os
import socket
import sys
from typing import Any

from rlvr.rewards.sandbox import candidate, confine, landlock, seccomp

PRELOADED = """
    math cmath collections itertools functools heapq bisect re json random decimal fractions statistics string datetime
    threading typing operator copy time calendar array struct enum dataclasses abc numbers contextlib textwrap queue io
    unicodedata hashlib pprint types keyword ast sys os
"""
# Where nothing can be opened once a run starts, more is loaded beforehand.
SEALED_TOO = """
    inspect traceback unittest difflib secrets base64 binascii zlib csv logging timeit weakref graphlib ipaddress uuid
    html urllib.parse shlex fnmatch pathlib tempfile subprocess socket ctypes platform locale bz2 lzma zoneinfo sched
    cProfile profile pdb doctest argparse getopt warnings gc resource signal select selectors glob shutil pickle atexit
    concurrent.futures.thread asyncio sqlite3 getpass
    encodings.idna encodings.latin_1 encodings.ascii encodings.utf_16
"""


def main(control: int, settings: dict[str, Any]) -> None:
    """Confine this interpreter, say how, and fork on request until the judge hangs up."""
    library = confine.libc()
    channel = socket.socket(fileno=control)
    confine.die_with_parent(library, settings["parent"])
    confine.offer_to_the_kernel()
    report: dict[str, Any] = {"namespaces": False, "landlock": 0, "refusals": {}}
    if settings["namespaces"]:
        _separate(library, channel, settings["readable"], report)
    _restrict(library, settings, report)
    for name in (PRELOADED + ("" if report["files"] else SEALED_TOO)).split():
        importlib.import_module(name)
    vars(builtins).update(exit=sys.exit, quit=sys.exit)  # the site module's, which contest programs call
    _forget(settings["root"])
    gc.collect()
    gc.freeze()
    channel.send(json.dumps(report).encode())
    _serve(library, channel, seccomp.candidate_filter(files=report["files"]), settings)


def _separate(library: ctypes.CDLL, channel: socket.socket, readable: list[str], report: dict[str, Any]) -> None:
    """Move into namespaces of our own, as their first process; this one stays outside and waits."""
    probe = os.fork()  # tried in a child first: half a move cannot be taken back
    if probe == 0:
        os._exit(_try_namespaces(library, readable))
    if os.waitstatus_to_exitcode(os.waitpid(probe, 0)[1]) != 0:
        report["refusals"]["namespaces"] = "user namespaces are refused here"
        return
    confine.enter_namespaces(library)
    zygote = os.fork()
    if zygote:
        channel.close()
        os.waitpid(zygote, 0)
        os._exit(0)
    confine.die_with_parent(library, 0)  # the launcher, whose number is not seen in here
    report["namespaces"] = True


def _try_namespaces(library: ctypes.CDLL, readable: list[str]) -> int:
    try:
        confine.enter_namespaces(library)
        if (child := os.fork()) == 0:
            confine.change_root(library, readable)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except BaseException:  # noqa: BLE001 - whatever refuses, the answer is no
        return 1


def _restrict(library: ctypes.CDLL, settings: dict[str, Any], report: dict[str, Any]) -> None:
    readable = settings["readable"]
    if report["namespaces"]:
        confine.change_root(library, readable)
    confine.drop_privileges(library)
    if settings["landlock"]:
        try:
            report["landlock"] = landlock.version(library)
            landlock.confine(library, readable)
        except OSError as error:
            report["landlock"] = 0
            report["refusals"]["landlock"] = str(error)
    report["files"] = bool(report["namespaces"] or report["landlock"])


def _forget(root: str) -> None:
    """Leave the candidate neither our modules nor the way to them, and a command line of its own."""
    sys.argv[:] = sys.orig_argv[:] = [candidate.FILE]
    sys.path[:] = [path for path in sys.path if path != root]
    for name in [name for name in sys.modules if name.partition(".")[0] == "rlvr"]:
        del sys.modules[name]


def _serve(library: ctypes.CDLL, channel: socket.socket, program: bytes, settings: dict[str, Any]) -> None:
    while True:
        request, descriptors, _, _ = socket.recv_fds(channel, 4096, 8)
        if not request:
            os._exit(0)
        asked = json.loads(request)
        if "reap" in asked:
            _, status, usage = os.wait4(asked["reap"], 0)
            told = [status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss]
            channel.send(json.dumps(told).encode())
            continue
        zygote, child = os.getpid(), os.fork()
        if child == 0:
            confine.die_with_parent(library, zygote)
            _become_candidate(library, channel, descriptors, program, asked)
        handle = os.pidfd_open(child)
        socket.send_fds(channel, [json.dumps(child).encode()], [handle])
        for descriptor in (handle, *descriptors):
            os.close(descriptor)


def _become_candidate(
    library: ctypes.CDLL, channel: socket.socket, descriptors: list[int], program: bytes, asked: dict[str, Any]
) -> None:
    """Take the five descriptors as 0 to 4 and nothing else, bound the process, arm it, say so, and serve."""
    try:
        high = [os.dup(descriptor) for descriptor in descriptors]  # out of the way of 0 to 4 (they are above 4 already)
        for target, descriptor in enumerate(high):
            os.dup2(descriptor, target)
        os.closerange(5, 4096)
        channel.detach()
        confine.limit(memory_bytes=asked["memory_bytes"], output_bytes=asked["output_bytes"])
        seccomp.arm(library, program)
        os.write(candidate.REPLIES, b"A")
        candidate.serve()
    finally:
        os._exit(70)

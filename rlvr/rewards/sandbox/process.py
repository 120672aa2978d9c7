"""The warm interpreter as the judge sees it: started once, asked to fork, and killed with all it forked."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rlvr.rewards.sandbox.child import START_LIMIT_S, Child, Limits, SandboxLost, Usage

_ROOT = str(Path(__file__).resolve().parents[3])
_BOOT = (
    "import sys, json; control, root = int(sys.argv[1]), sys.argv[2]; sys.path.insert(0, root); "
    "from rlvr.rewards.sandbox import zygote; zygote.main(control, json.loads(sys.argv[3]))"
)
_ENVIRONMENT = {  # the same hashes, so the same verdict, every time
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "LC_ALL": "C.UTF-8",
}


def readable_paths() -> list[str]:
    """Folders and files of the standard library and the system that imports need; no others can be read."""
    system = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")
    wanted = (sysconfig.get_path("stdlib"), f"{sys.base_prefix}/lib", *system)
    kept: list[str] = []
    for path in sorted({os.path.normpath(path) for path in wanted if os.path.exists(path)}):
        if not any(path.startswith(f"{above}/") for above in kept):
            kept.append(path)
    return kept


class Zygote:
    """One warm interpreter; only the thread that started it may use it, and it dies with that thread.

    `lost` says that it failed to answer and must be replaced. Raises SandboxLost where it does not start.
    """

    def __init__(self, *, namespaces: bool = True, landlock: bool = True) -> None:
        self.lost = False
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.settimeout(START_LIMIT_S)
        settings = {
            "parent": os.getpid(),
            "root": _ROOT,
            "readable": readable_paths(),
            "namespaces": namespaces,
            "landlock": landlock,
        }
        with theirs:
            try:
                self._process = _start(theirs.fileno(), json.dumps(settings))
            except OSError as error:
                self._channel.close()
                raise SandboxLost(f"the sandbox cannot be started ({error})") from None
        try:
            self.report: Mapping[str, Any] = json.loads(self._receive()[0])
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Process id of the interpreter that was started (in namespaces: of its launcher)."""
        return self._process.pid

    def spawn(self, limits: Limits, stdin: bytes | None = None) -> Child:
        """Fork a confined process and see for ourselves that it is; raises SandboxLost."""
        opened: list[int] = []
        try:
            number, ours = self._fork(limits, stdin, opened)
        except (OSError, ValueError, IndexError, SandboxLost) as error:
            self.lost = True
            for descriptor in opened:
                os.close(descriptor)
            raise SandboxLost(f"the sandbox does not fork ({error}) {self._last_words()}") from None
        for descriptor in set(opened) - set(ours.values()):
            os.close(descriptor)
        return Child(lambda: self.reap(number), **ours, limits=limits)

    def _fork(self, limits: Limits, stdin: bytes | None, opened: list[int]) -> tuple[int, dict[str, int]]:
        """Return the forked process's number there and our ends; every descriptor opened is added to `opened`."""
        requests, write = os.pipe()
        opened += [requests, write]
        read, replies = os.pipe()
        opened += [read, replies]
        output = os.memfd_create("output", os.MFD_CLOEXEC)
        opened.append(output)
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)  # not shared: flags set on it would reach the next run
        opened.append(nothing)
        given = nothing if stdin is None else _memory_file(stdin)
        opened += [] if stdin is None else [given]
        asked = {name: getattr(limits, name) for name in ("memory_bytes", "output_bytes")}
        sent = [given, output, output if stdin is None else nothing, requests, replies]
        socket.send_fds(self._channel, [json.dumps(asked).encode()], sent)
        message, handles = self._receive(descriptors=1)
        opened += handles
        return json.loads(message), {"handle": handles[0], "requests": write, "replies": read, "output": output}

    def reap(self, child: int) -> Usage:
        """Return what an ended child used; raises SandboxLost."""
        try:
            self._channel.send(json.dumps({"reap": child}).encode())
            status, cpu_s, kilobytes = json.loads(self._receive()[0])
        except (OSError, SandboxLost) as error:
            self.lost = True
            raise SandboxLost(f"the sandbox process is gone ({error})") from None
        return Usage(status=status, cpu_s=cpu_s, memory_bytes=kilobytes << 10)

    def _receive(self, descriptors: int = 0) -> tuple[bytes, list[int]]:
        try:
            message, received, _, _ = socket.recv_fds(self._channel, 65536, descriptors)
        except OSError as error:
            raise SandboxLost(f"the sandbox process does not answer ({error})") from None
        if not message:
            raise SandboxLost(f"the sandbox process ended: {self._last_words()}")
        return message, received

    def _last_words(self) -> str:
        """What the interpreter wrote as it ended; it writes nothing while all is well."""
        self._process.kill()
        assert self._process.stderr is not None
        with suppress(ValueError):
            return self._process.stderr.read().decode(errors="replace").strip()[-400:]
        return ""

    def kill(self) -> None:
        """Kill the interpreter, and with it everything it forked; any thread may."""
        self._process.kill()

    def close(self) -> None:
        """Kill the interpreter, wait for it, and let go of what it held; only the thread that uses it may."""
        self._process.kill()
        self._process.wait()
        self._channel.close()
        if self._process.stderr is not None:
            self._process.stderr.close()


def _start(control: int, settings: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-s", "-S", "-P", "-c", _BOOT, str(control), _ROOT, settings],
        pass_fds=(control,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=_ENVIRONMENT,
        cwd="/",
        start_new_session=True,
    )


def _memory_file(data: bytes) -> int:
    """A file without a name that holds `data`, at its start."""
    descriptor = os.memfd_create("input", os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor

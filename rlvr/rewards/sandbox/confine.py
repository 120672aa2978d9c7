"""What the warm interpreter takes from itself before it forks: namespaces, the file tree, capabilities; and limits."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Sequence

_NEW_NAMESPACES = 0x10000000 | 0x00020000 | 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000  # user ns pid net ipc uts
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
_MNT_DETACH = 2
_SYS_PIVOT_ROOT, _SYS_CAPSET = 155, 126
_PDEATHSIG, _SET_DUMPABLE, _CAPBSET_DROP, _NO_NEW_PRIVS, _CAP_AMBIENT, _AMBIENT_CLEAR = 1, 4, 24, 38, 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63
_BASES = ("/mnt", "/tmp", "/media", "/srv", "/run", "/var")  # one is hidden by the new root, in this namespace only
_ROOT_BYTES = "size=1m,mode=755"

OPEN_FILES = 32
BACKSTOP_S = 3600  # of processor time, should the judge be stopped


def offer_to_the_kernel() -> None:
    """Have the kernel end this process and its children first where memory runs out, before the judge."""
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def libc() -> ctypes.CDLL:
    """Return the C library with errno kept."""
    return ctypes.CDLL(None, use_errno=True)


def die_with_parent(library: ctypes.CDLL, parent: int) -> None:
    """Have the kernel kill this process when its parent dies; ends it where that has happened already."""
    library.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def enter_namespaces(library: ctypes.CDLL) -> None:
    """Leave the machine's users, processes (from the next fork on), mounts, network and IPC; raises OSError."""
    user, group = os.geteuid(), os.getegid()
    _check(library.unshare(_NEW_NAMESPACES), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def change_root(library: ctypes.CDLL, readable: Sequence[str]) -> None:
    """Make a root that holds the readable folders alone, all read-only; raises OSError."""
    _mount(library, None, "/", None, _MS_REC | _MS_PRIVATE)
    base = next(path for path in _BASES if os.path.isdir(path) and not _holds(path, readable))
    _mount(library, "tmpfs", base, "tmpfs", _MS_NOSUID | _MS_NODEV, _ROOT_BYTES)
    for path in readable:
        target = base + path
        if os.path.isdir(path):
            os.makedirs(target, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
        _mount(library, path, target, None, _MS_BIND | _MS_REC)
        _mount(library, None, target, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _kept_flags(target))
    os.chdir(base)
    _check(library.syscall(_SYS_PIVOT_ROOT, b".", b"."), "pivot_root")
    _check(library.umount2(b".", _MNT_DETACH), "umount")
    os.chdir("/")
    _mount(library, None, "/", None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)


def drop_privileges(library: ctypes.CDLL) -> None:
    """Give up every capability, and the means to gain one; raises OSError."""
    _check(library.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    library.prctl(_CAP_AMBIENT, _AMBIENT_CLEAR, 0, 0, 0)
    for capability in range(_LAST_CAPABILITY + 1):
        library.prctl(_CAPBSET_DROP, capability, 0, 0, 0)  # fails where there is none to drop
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _check(library.syscall(_SYS_CAPSET, header, (ctypes.c_uint32 * 6)()), "capset")
    _check(library.prctl(_SET_DUMPABLE, 0, 0, 0, 0), "dumpable")


def limit(*, memory_bytes: int, output_bytes: int) -> None:
    """Bound this process for good: address space, output, open files, no core dump.

    Processor time is the judge's to bound: the kernel's own limit counts ticks, which a program can make it miscount.
    """
    for name, value in (
        (resource.RLIMIT_CPU, BACKSTOP_S),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, output_bytes),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(name, (value, value))


def _holds(folder: str, paths: Sequence[str]) -> bool:
    return any(os.path.realpath(path).startswith(f"{folder}/") or path.startswith(f"{folder}/") for path in paths)


def _kept_flags(path: str) -> int:
    """Flags of a mount that a remount in a user namespace must repeat."""
    flags = os.statvfs(path).f_flag
    kept = {os.ST_NOSUID: _MS_NOSUID, os.ST_NODEV: _MS_NODEV, os.ST_NOEXEC: 8, os.ST_NOATIME: 1024}
    kept |= {os.ST_NODIRATIME: 2048, os.ST_RELATIME: 1 << 21}
    return sum(mount for stat, mount in kept.items() if flags & stat) | _MS_NOSUID | _MS_NODEV


def _mount(
    library: ctypes.CDLL, source: str | None, target: str, kind: str | None, flags: int, data: str | None = None
) -> None:
    def encoded(text: str | None) -> bytes | None:
        return None if text is None else text.encode()

    result = library.mount(encoded(source), target.encode(), encoded(kind), ctypes.c_ulong(flags), encoded(data))
    _check(result, f"mount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")

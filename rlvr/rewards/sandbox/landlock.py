"""Landlock: this process and its children may read below the given folders, and do nothing else with files or ports."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
# Bits a kernel knows, by ABI version: the file system of 1, then refer, truncate, ioctl on devices.
_FILE_BITS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_NET_BITS, _NET_SINCE = 0b11, 4  # TCP bind and connect
_SCOPE_BITS, _SCOPE_SINCE = 0b11, 6  # abstract sockets and signals stay within


def version(library: ctypes.CDLL) -> int:
    """Return the ABI version of the kernel; 0 where Landlock is off or the container refuses the call."""
    found = library.syscall(_CREATE, None, 0, _VERSION_FLAG)
    return max(0, int(found))


def confine(library: ctypes.CDLL, readable: Sequence[str]) -> None:
    """Restrict this process for good; raises OSError where the kernel refuses."""
    known = version(library)
    if known < 1:
        raise OSError(ctypes.get_errno(), "Landlock is not available")
    files = max(bits for since, bits in _FILE_BITS.items() if since <= known)
    net = _NET_BITS if known >= _NET_SINCE else 0
    scope = _SCOPE_BITS if known >= _SCOPE_SINCE else 0
    attribute = struct.pack("<QQQ", files, net, scope)
    size = 24 if scope else 16 if net else 8  # a kernel refuses fields it does not know
    rules = library.syscall(_CREATE, ctypes.c_char_p(attribute), size, 0)
    if rules < 0:
        raise OSError(ctypes.get_errno(), "Landlock refused the rule set")
    try:
        for path in readable:
            _allow(library, rules, path)
        if library.syscall(_RESTRICT, rules, 0) != 0:
            raise OSError(ctypes.get_errno(), "Landlock refused to restrict")
    finally:
        os.close(rules)


def _allow(library: ctypes.CDLL, rules: int, path: str) -> None:
    folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rights = _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0)
        rule = struct.pack("<Qi", rights, folder)
        if library.syscall(_ADD_RULE, rules, _PATH_BENEATH, ctypes.c_char_p(rule), 0) != 0:
            raise OSError(ctypes.get_errno(), f"Landlock refused a rule for {path}")
    finally:
        os.close(folder)

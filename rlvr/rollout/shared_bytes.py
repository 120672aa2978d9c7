"""Bytes that another process of this machine reads without a copy."""

from __future__ import annotations

import mmap
import os
import zlib
from collections.abc import Sequence
from typing import Any


class SharedBytes:
    """Memory without a name that is kept and written again: taking it anew costs more than filling it.

    A process of the same user opens it at `path`; it is gone with this process, however that ends.
    """

    def __init__(self) -> None:
        self.handle = os.memfd_create("rlvr-weights")
        self.path = f"/proc/{os.getpid()}/fd/{self.handle}"
        self.memory: mmap.mmap | None = None

    def write(self, parts: Sequence[Any]) -> int:
        """Replace what is there by the bytes of `parts` (buffers), one after the other, and return their CRC-32."""
        size = sum(memoryview(part).nbytes for part in parts)
        if self.memory is None or len(self.memory) < size:
            os.ftruncate(self.handle, max(1, size))
            self.memory = mmap.mmap(self.handle, max(1, size))
        offset, crc = 0, 0
        for part in parts:
            view = memoryview(part).cast("B")
            crc = zlib.crc32(view, crc)
            self.memory[offset : offset + len(view)] = view
            offset += len(view)
        return crc


class SharedReader:
    """The other side: keeps what it has mapped, as mapping it again costs more than reading it."""

    def __init__(self) -> None:
        self.path = ""
        self.memory: mmap.mmap | None = None

    def read(self, path: str, size: int) -> mmap.mmap:
        """Return the memory at a `SharedBytes.path`, at least `size` bytes: what is written there later shows in it."""
        if self.memory is None or self.path != path or len(self.memory) < size:
            with open(path, "r+b") as file:
                self.path, self.memory = path, mmap.mmap(file.fileno(), 0)
        return self.memory

"""Checksums of a folder's files, as `sha256sum -c SHA256SUMS` reads them, and whether a disk is full."""

from __future__ import annotations

import errno
import hashlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

NAME = "SHA256SUMS"
THREADS = 8
SCARCE_BYTES = 32 * 2**20  # free space under which a failed write is put down to a full disk


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / NAME)


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _digests(folder: Path) -> dict[str, str]:
    files = _files(folder)
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(_digest, files))
    return {str(path.relative_to(folder)): digest for path, digest in zip(files, found, strict=True)}


def write_checksums(folder: Path) -> None:
    """List every file of the folder with its checksum."""
    (folder / NAME).write_text("".join(f"{digest}  {name}\n" for name, digest in _digests(folder).items()))


def damage(folder: Path) -> str | None:
    """Return what is wrong with the folder in a few words naming the file, or None where every file is as written."""
    try:
        lines = (folder / NAME).read_text().splitlines()
        listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        found = _digests(folder)
    except (OSError, UnicodeDecodeError) as error:
        return f"{NAME} or a file it lists cannot be read ({type(error).__name__})"
    for name in sorted(listed.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if name not in listed:
            return f"{name} is not listed in {NAME}"
        if found[name] != listed[name]:
            return f"{name} is not what was written (sha256 {found[name][:12]}, not {listed[name][:12]})"
    return None if listed else f"{NAME} lists nothing"


def disk_is_full(error: BaseException, folder: Path) -> bool:
    """Whether a write under `folder` failed for want of space; torch says of it no more than that a write failed."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return folder.exists() and shutil.disk_usage(folder).free < SCARCE_BYTES

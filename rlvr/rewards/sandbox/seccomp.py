"""The system calls a candidate may make, as a seccomp filter; everything else answers EPERM.

No process, no program, no socket, no signal, no change of limits, no file opened for writing: what is left is memory,
threads, clocks and reading. A candidate cannot even kill itself, which would look as if we had lost it. Numbers are
those of x86-64; another architecture is refused, not guessed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

_AUDIT_ARCH_X86_64 = 0xC000003E
_X32_BIT = 0x40000000
_LOAD, _JUMP_EQ, _JUMP_GE, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NR, _ARCH, _ARGS = 0, 4, 16  # offsets in struct seccomp_data
_SET_MODE_FILTER = 1
_SYS_SECCOMP = 317

_MEMORY = (9, 10, 11, 12, 25, 28)  # mmap mprotect munmap brk mremap madvise
_DESCRIPTORS = (0, 1, 3, 5, 7, 8, 17, 18, 19, 20, 22, 23, 32, 33, 45, 213, 232, 233, 270, 271, 281, 290, 291, 292, 293)
# read write close fstat lseek pread64 pwrite64 readv writev poll pipe select dup dup2 epoll_create epoll_wait epoll_ctl
# pselect6 ppoll epoll_pwait eventfd2 epoll_create1 dup3 pipe2 recvfrom; close_range by its flags
_CLOCKS = (35, 36, 37, 38, 96, 98, 99, 100, 201, 228, 229, 230)
# nanosleep getitimer alarm setitimer gettimeofday getrusage sysinfo times time clock_gettime/getres/nanosleep
_SIGNALS = (13, 14, 15, 34, 127, 128, 131, 219)
# rt_sigaction rt_sigprocmask rt_sigreturn pause rt_sigpending rt_sigtimedwait sigaltstack restart_syscall
_THREADS = (24, 143, 145, 146, 147, 158, 186, 202, 204, 218, 273, 274, 309, 334)
# sched_yield sched_getparam sched_getscheduler sched_get_priority_max/min arch_prctl gettid futex sched_getaffinity
# set_tid_address set/get_robust_list getcpu rseq
_IDENTITY = (39, 63, 79, 97, 102, 104, 107, 108, 110, 111, 115, 118, 120, 121, 124, 318)
# getpid uname getcwd getrlimit getuid getgid geteuid getegid getppid getpgrp getgroups getresuid getresgid getpgid
# getsid getrandom
_EXIT = (60, 231)  # exit exit_group
_LOOKING = (4, 6, 21, 89, 217, 262, 267, 269, 332, 439)
# stat lstat access readlink getdents64 newfstatat readlinkat faccessat statx faccessat2

_CLONE, _CLONE3, _OPEN, _OPENAT, _FCNTL, _IOCTL, _PRLIMIT, _FSTATAT = 56, 435, 2, 257, 72, 16, 302, 262
_CLONE_THREAD, _CLONE_FILES, _CLONE_NEW = 0x00010000, 0x00000400, 0x7E020080
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | 0o20000000
_FCNTL_COMMANDS = (0, 1, 2, 3, 4, 1030)  # DUPFD GETFD SETFD GETFL SETFL DUPFD_CLOEXEC
_IOCTL_COMMANDS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# TCGETS TIOCGWINSZ FIONREAD FIONBIO FIONCLEX FIOCLEX
_AT_EMPTY_PATH = 0x1000
_RLIMIT_STACK, _AF_UNIX = 3, 1
_SOCKETPAIR, _SENDTO, _CLOSE_RANGE = 53, 44, 436

Instruction = tuple[int, int, int, int]


def supported() -> bool:
    """Whether the filter's system call numbers are those of this machine."""
    return platform.machine() == "x86_64" and struct.calcsize("P") == 8


def candidate_filter(*, files: bool) -> bytes:
    """Return the filter as bytes; `files` lets the program look at and read files (Landlock or a private root guards).

    Without `files` nothing can be opened: what was imported before is all there is.
    """
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH),
        (_JUMP_EQ, 1, 0, _AUDIT_ARCH_X86_64),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NR),
        (_JUMP_GE, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _KILL),
    ]
    plain = (*_DESCRIPTORS, *_MEMORY, *_CLOCKS, *_SIGNALS, *_THREADS, *_IDENTITY, *_EXIT)
    for number in (*plain, *(_LOOKING if files else ())):
        program += [(_JUMP_EQ, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    program += _when(_CLONE, [*_has(0, _CLONE_THREAD), *_has(0, _CLONE_FILES), *_lacks(0, _CLONE_NEW)])
    program += _when(_CLOSE_RANGE, _is(2, 0))  # its flags could give a thread descriptors of its own
    program += _when(_FCNTL, _is_one_of(1, _FCNTL_COMMANDS))
    program += _when(_IOCTL, _is_one_of(1, _IOCTL_COMMANDS))
    stack = [_load(1), (_JUMP_EQ, 4, 0, _RLIMIT_STACK)]  # its own stack it may set: past the four steps that follow
    program += _when(_PRLIMIT, [*_is(0, 0), *stack, *_is(2, 0), *_is_high(2, 0)])  # the others may be asked, not set
    program += _when(_SOCKETPAIR, _is(0, _AF_UNIX))  # what an event loop wakes itself with
    program += _when(_SENDTO, [*_is(4, 0), *_is_high(4, 0)])  # to its peer, never to an address
    if files:
        program += _when(_OPENAT, _lacks(2, _WRITING)) + _when(_OPEN, _lacks(1, _WRITING))
    else:
        program += _when(_FSTATAT, _has(3, _AT_EMPTY_PATH))  # fstat, as newer C libraries spell it
    program += [
        (_JUMP_EQ, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),  # the C library then uses clone, whose flags can be looked at
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
    ]
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)


def arm(library: ctypes.CDLL, program: bytes) -> None:
    """Confine this process to `program` for good; raises OSError where the kernel refuses."""
    held = ctypes.create_string_buffer(program, len(program))
    bpf = struct.pack("<HxxxxxxQ", len(program) // 8, ctypes.addressof(held))
    if library.syscall(_SYS_SECCOMP, _SET_MODE_FILTER, 0, ctypes.c_char_p(bpf)) != 0:
        raise OSError(ctypes.get_errno(), "seccomp refused")


def _when(number: int, test: list[Instruction]) -> list[Instruction]:
    """Allow `number` where every step of `test` holds, refuse it otherwise; other numbers go on below."""
    body = [*_link(test), (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | errno.EPERM)]
    return [(_JUMP_EQ, 0, len(body), number), *body]


_FAIL = 255  # stands for "to the refusal at the end", whose distance _link knows


def _link(test: list[Instruction]) -> list[Instruction]:
    """Replace every jump to _FAIL by the distance to the refusal, which stands two after the last step."""
    linked = []
    for index, (code, yes, no, value) in enumerate(test):
        distance = len(test) - index  # past the rest and the ALLOW
        linked.append((code, distance if yes == _FAIL else yes, distance if no == _FAIL else no, value))
    return linked


def _load(argument: int) -> Instruction:
    return (_LOAD, 0, 0, _ARGS + 8 * argument)


def _is(argument: int, value: int) -> list[Instruction]:
    return [_load(argument), (_JUMP_EQ, 0, _FAIL, value)]


def _is_high(argument: int, value: int) -> list[Instruction]:
    return [(_LOAD, 0, 0, _ARGS + 8 * argument + 4), (_JUMP_EQ, 0, _FAIL, value)]


def _has(argument: int, bits: int) -> list[Instruction]:
    return [_load(argument), (_JUMP_SET, 0, _FAIL, bits)]


def _lacks(argument: int, bits: int) -> list[Instruction]:
    return [_load(argument), (_JUMP_SET, _FAIL, 0, bits)]


def _is_one_of(argument: int, values: tuple[int, ...]) -> list[Instruction]:
    steps = [_load(argument)]
    for left, value in zip(range(len(values) - 1, -1, -1), values, strict=True):
        steps.append((_JUMP_EQ, left, 0 if left else _FAIL, value))
    return steps

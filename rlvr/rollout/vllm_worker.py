"""What is added to vLLM's worker process: it dies with its parent, and receives weights through `collective_rpc`.

vLLM imports this module before it loads the model: in the engine's process, or in those that `vllm_executor` starts.
"""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import os
import signal
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from rlvr.rollout.shared_bytes import SharedReader

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel to kill this child process when its parent dies: it would live on otherwise."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return  # not a child: the module is imported by a test, or by an engine without processes of its own
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent.pid:
        os._exit(1)  # it died before the kernel was asked


die_with_parent()


def forget_packed_experts(model: Any) -> None:
    """Let vLLM (0.32) lay experts out for its CPU kernel again when they are loaded again.

    It packs them only where their layer has no kernel yet; of one that has, plain weights would stand where the kernel
    reads packed ones. A GPU's kernel stays: graphs are captured over it, and it reads weights as they are loaded.
    """
    for module in model.modules():
        method: Any = getattr(module, "quant_method", None)
        experts = getattr(getattr(method, "moe_kernel", None), "fused_experts", None)
        if type(experts).__module__.endswith(".cpu_moe"):
            method.moe_kernel = None


def placed(manifest: Iterable[Any]) -> Iterator[tuple[str, Any, tuple[int, ...], int, int]]:
    """Yield name, dtype, shape, first byte and bytes of tensors that lie one after the other."""
    import torch

    start = 0
    for name, dtype, shape in manifest:
        kind = getattr(torch, dtype)
        size = kind.itemsize * math.prod(shape)
        yield name, kind, tuple(shape), start, size
        start += size


class WeightReceiver:
    """Mixed into the worker class by `worker_extension_cls`."""

    def rlvr_receive(self, path: str, manifests: list[list[Any]]) -> int:
        """Open all weights, named and shaped by `manifests`, and return the CRC-32 of their bytes.

        Nothing is loaded yet: the engine samples on until `rlvr_load`.
        """
        import torch

        if not hasattr(self, "_rlvr_reader"):
            self._rlvr_reader = SharedReader()
        laid_out = list(placed(one for manifest in manifests for one in manifest))
        end = max(start + size for *_, start, size in laid_out)
        memory = self._rlvr_reader.read(path, end)
        flat = torch.frombuffer(memory, dtype=torch.uint8)
        self._rlvr_tensors: list[tuple[str, torch.Tensor]] = []
        for name, kind, shape, start, size in laid_out:
            part = flat[start : start + size]
            part = part if start % kind.itemsize == 0 else part.clone()  # after a tensor of smaller numbers
            self._rlvr_tensors.append((name, part.view(kind).reshape(shape)))
        return zlib.crc32(memoryview(memory)[:end])

    def rlvr_load(self, version: int) -> int:
        """Load what was received last, as `version`, and return that.

        The engine loads layer by layer and re-runs its post-processing, which it does over a complete set of weights.
        """
        tensors = self._rlvr_tensors
        del self._rlvr_tensors
        forget_packed_experts(self.get_model())  # type: ignore[attr-defined]
        self.reload_weights(weights_iterator=iter(tensors))  # type: ignore[attr-defined]  # the worker's own method
        self._rlvr_version = version
        return self.rlvr_version()

    def rlvr_version(self) -> int:
        """Return the version loaded last, 0 where the engine has what it was started with."""
        return getattr(self, "_rlvr_version", 0)

"""What is added to vLLM's worker process: it dies with its parent, and receives weights through `collective_rpc`.

vLLM imports this module in the engine's process before it loads the model.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import zlib
from typing import Any

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


class WeightReceiver:
    """Mixed into the worker class by `worker_extension_cls`."""

    def rlvr_receive(self, manifest: list[Any], payload: bytes, last: bool) -> int:
        """Keep one bucket; with the last one load them all. Returns the CRC of all bytes received since the first.

        The engine loads layer by layer and re-runs its post-processing, which it does over a complete set of weights.
        """
        import torch

        if not hasattr(self, "_rlvr_tensors"):
            self._rlvr_tensors: list[tuple[str, torch.Tensor]] = []
            self._rlvr_crc = 0
        self._rlvr_crc = zlib.crc32(payload, self._rlvr_crc)
        flat = torch.frombuffer(bytearray(payload), dtype=torch.uint8)
        offset = 0
        for name, dtype, shape in manifest:
            kind = getattr(torch, dtype)
            count = kind.itemsize
            for size in shape:
                count *= size
            self._rlvr_tensors.append((name, flat[offset : offset + count].clone().view(kind).reshape(tuple(shape))))
            offset += count
        if not last:
            return self._rlvr_crc
        tensors, crc = self._rlvr_tensors, self._rlvr_crc
        del self._rlvr_tensors, self._rlvr_crc
        forget_packed_experts(self.get_model())  # type: ignore[attr-defined]
        self.reload_weights(weights_iterator=iter(tensors))  # type: ignore[attr-defined]  # the worker's own method
        return crc

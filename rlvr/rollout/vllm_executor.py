"""What is added to the engine's process where the model's workers are processes below it (`tensor_parallel` > 1)."""

from __future__ import annotations

from vllm.v1.executor.multiproc_executor import MultiprocExecutor

from rlvr.rollout.vllm_worker import die_with_parent


class MortalExecutor(MultiprocExecutor):
    """Starts the workers in a process that dies with its parent; it has no worker of its own to ask the kernel so."""

    def _init_executor(self) -> None:
        die_with_parent()
        super()._init_executor()

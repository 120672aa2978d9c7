"""What an engine is started with, and what vLLM reads of it from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What an engine is started with."""

    path: str
    dtype: str
    max_model_len: int
    tensor_parallel: int
    threads: int
    kv_cache_gib: float
    max_running: int
    compile: bool
    eos_ids: tuple[int, ...]
    seed: int
    routing_replay: bool = False

    @property
    def executor(self) -> str:
        """How vLLM is to run the model: in the engine's own process, or in one for each part of it."""
        return "uni" if self.tensor_parallel == 1 else "rlvr.rollout.vllm_executor.MortalExecutor"


def prepare_environment(settings: EngineSettings, *, gpus: bool) -> None:
    """Set what vLLM reads from the environment; must run before it is imported."""
    os.environ.update(VLLM_LOGGING_LEVEL="ERROR", VLLM_NO_USAGE_STATS="1", VLLM_CONFIGURE_LOGGING="0")
    if not gpus:
        os.environ.update(
            OMP_NUM_THREADS=str(settings.threads),
            VLLM_ENABLE_V1_MULTIPROCESSING="0",  # keeps the worker inside the engine process: one process fewer
            VLLM_CPU_OMP_THREADS_BIND="nobind",
        )

"""One vLLM engine in one process. Everything that knows vLLM's engine API is here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rlvr.rollout.engine_settings import EngineSettings, prepare_environment
from rlvr.rollout.shared_bytes import SharedBytes
from rlvr.rollout.vllm_alive import alive, unless_dead
from rlvr.rollout.vllm_drawn import Drawn, Loaded, read_drawn
from rlvr.types import SamplingParams


class VllmEngine:
    """Samples with `AsyncLLM`; weights are replaced in place."""

    def __init__(self, settings: EngineSettings, *, gpus: bool) -> None:
        prepare_environment(settings, gpus=gpus)
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        self.settings = settings
        self.requests = 0
        self.shared = SharedBytes()  # on the way to the engine's process
        self.engine = AsyncLLM.from_engine_args(
            AsyncEngineArgs(
                model=settings.path,
                dtype=settings.dtype,
                max_model_len=settings.max_model_len,
                max_num_seqs=settings.max_running,
                tensor_parallel_size=settings.tensor_parallel,
                kv_cache_memory_bytes=int(settings.kv_cache_gib * 2**30),
                # The cache has a size of its own; this share must only be free at start, where a learner may be too.
                gpu_memory_utilization=0.1 if gpus else 0.9,
                enforce_eager=not settings.compile,
                enable_prefix_caching=True,
                # A prompt cut into chunks makes vLLM rewind a seeded request's generator, which CPU ones cannot do.
                enable_chunked_prefill=gpus,
                max_num_batched_tokens=max(4096, settings.max_model_len),
                distributed_executor_backend=settings.executor,
                logprobs_mode="processed_logprobs",  # of the distribution actually drawn from, after temperature
                generation_config="vllm",  # a model's own generation_config must not change top_p or temperature
                worker_extension_cls="rlvr.rollout.vllm_worker.WeightReceiver",
                skip_tokenizer_init=True,
                disable_log_stats=True,
                enable_return_routed_experts=settings.routing_replay,
                seed=settings.seed,
            )
        )

    async def prepare(self) -> None:
        """Name the weights the engine starts with."""
        await self.engine.update_weight_version("0")

    async def sample(self, token_ids: Sequence[int], params: SamplingParams) -> tuple[Drawn, ...]:
        """Draw a group of completions of one prompt."""
        from vllm import SamplingParams as VllmParams
        from vllm.sampling_params import RequestOutputKind

        self.requests += 1
        wanted = VllmParams(
            n=params.group_size,
            max_tokens=min(params.max_tokens, self.settings.max_model_len - len(token_ids)),
            temperature=params.temperature,
            top_p=params.top_p,
            top_k=params.top_k,
            seed=params.seed,
            logprobs=0,
            stop_token_ids=list(self.settings.eos_ids),
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        prompt = {"prompt_token_ids": list(token_ids)}
        final: Any = None
        with alive():
            async for output in self.engine.generate(prompt, wanted, request_id=str(self.requests)):
                final = output
        outputs = sorted(final.outputs, key=lambda output: output.index)
        return tuple(read_drawn(output, routing_replay=self.settings.routing_replay) for output in outputs)

    @property
    def running(self) -> int:
        """How many groups are under way."""
        return int(self.engine.output_processor.get_num_unfinished_requests())

    async def update_weights(self, buckets: Sequence[tuple[list[Any], Any]], version: int) -> Loaded:
        """Replace all weights, checked before the engine is paused; what is under way goes on under the new ones."""
        parts = [memoryview(part) for _, parts in buckets for part in parts]
        sent = self.shared.write(parts)
        paused_s = await unless_dead(self.engine, self._load(sent, [manifest for manifest, _ in buckets], version))
        return Loaded(size=sum(part.nbytes for part in parts), paused_s=paused_s)

    async def _load(self, sent: int, manifests: list[list[Any]], version: int) -> float:
        replies = await self.engine.collective_rpc("rlvr_receive", args=(self.shared.path, manifests))
        if set(replies) != {sent}:
            raise RuntimeError(f"other weights arrived than were sent: crc {replies}, not {sent}")
        began = time.perf_counter()
        # Not `pause_generation`, which sleeps 20 ms afterwards: as long as a small model takes to load.
        await self.engine.engine_core.pause_scheduler_async(mode="keep", clear_cache=True)
        loaded = await self.engine.collective_rpc("rlvr_load", args=(version,))
        await self.engine.update_weight_version(str(min(loaded)))
        await self.engine.resume_generation()
        return time.perf_counter() - began

    async def ping(self) -> int:
        """Return the version of the weights, which the engine's own process says."""
        return int(min(await unless_dead(self.engine, self.engine.collective_rpc("rlvr_version"))))

    def shutdown(self) -> None:
        """End the engine's processes."""
        self.engine.shutdown()

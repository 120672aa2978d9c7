"""How a DeepSpeed optimizer forgets gradients it has accumulated."""

from __future__ import annotations

from typing import Any

from deepspeed.runtime.zero.stage_1_and_2 import INITIAL_MICRO_STEP_ID, DeepSpeedZeroOptimizer


def discard_gradients(optimizer: Any) -> None:
    """Forget what was accumulated and what was noted of it, as if no micro-batch had been seen since the last step."""
    optimizer.zero_grad()  # the engine's own leaves ZeRO-3's shards to be added to
    if not isinstance(optimizer, DeepSpeedZeroOptimizer):
        return
    # What its own step resets: it would otherwise add to the sums and refuse the next step for this one's overflow.
    optimizer.micro_step_id = INITIAL_MICRO_STEP_ID
    for groups in (optimizer.averaged_gradients, optimizer.all_grad_tensors):
        for index in groups:
            groups[index] = None
    if optimizer.cpu_offload:
        optimizer._offload_accumulated_param_ids = set()
        optimizer.reset_cpu_buffers()

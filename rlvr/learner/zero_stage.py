"""Which ZeRO stage DeepSpeed is told; light, for the plan counts its memory."""

from __future__ import annotations


def accumulating_stage(*, dtype: str, zero_stage: int, offload: bool) -> int:
    """Return the ZeRO stage that does what `zero_stage` should, and adds bfloat16 gradients up in float32.

    A running sum in bfloat16 has 8 significant bits: it stops growing once it is 256 times what is added to it.
    DeepSpeed keeps a float32 sum from stage 1 on, and beside an offloaded optimizer from stage 2 on.
    """
    if dtype != "bfloat16":
        return zero_stage
    return max(zero_stage, 2 if offload else 1)

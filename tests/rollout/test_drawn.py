"""What of vLLM's output becomes a completion."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from rlvr.rollout.vllm_engine import _drawn


def output(routed: np.ndarray | None) -> SimpleNamespace:
    logprobs = [{7: SimpleNamespace(logprob=-0.5)}, {2: SimpleNamespace(logprob=-1.5)}]
    spans = [SimpleNamespace(version="3", start=0, end=2)]
    return SimpleNamespace(
        token_ids=[7, 2], logprobs=logprobs, weight_versions=spans, finish_reason="stop", routed_experts=routed
    )


def test_experts_are_bytes_token_by_token_then_layer_by_layer() -> None:
    # A prompt of 1 token and 2 drawn ones: 2 positions were computed, of 2 layers with 2 experts each.
    routed = np.array([[[0, 3], [1, 2]], [[3, 1], [2, 0]]])
    assert _drawn(output(routed.astype(np.uint8))).routed_experts == bytes([0, 3, 1, 2, 3, 1, 2, 0])
    assert _drawn(output(routed.astype(np.uint16))).routed_experts[:4] == bytes([0, 0, 3, 0])
    assert _drawn(output(np.asfortranarray(routed.astype(np.uint8)))).routed_experts[:4] == bytes([0, 3, 1, 2])
    assert _drawn(output(None)).routed_experts == b""


def test_tokens_logprobs_and_versions() -> None:
    drawn = _drawn(output(None))
    assert (drawn.token_ids, drawn.sampler_logprobs, drawn.finish) == ((7, 2), (-0.5, -1.5), "stop")
    assert [(span.policy_version, span.start, span.end) for span in drawn.versions] == [(3, 0, 2)]

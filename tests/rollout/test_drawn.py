"""What of vLLM's output becomes a completion."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from rlvr.rollout.vllm_drawn import Drawn, read_drawn


def output(routed: np.ndarray | None, finish: str | None = "stop") -> SimpleNamespace:
    logprobs = [{7: SimpleNamespace(logprob=-0.5)}, {2: SimpleNamespace(logprob=-1.5)}]
    spans = [SimpleNamespace(version="3", start=0, end=2)]
    return SimpleNamespace(
        token_ids=[7, 2], logprobs=logprobs, weight_versions=spans, finish_reason=finish, routed_experts=routed
    )


def replayed(routed: np.ndarray | None) -> Drawn:
    return read_drawn(output(routed), routing_replay=True)


def test_experts_are_bytes_token_by_token_then_layer_by_layer() -> None:
    # A prompt of 1 token and 2 drawn ones: 2 positions were computed, of 2 layers with 2 experts each.
    routed = np.array([[[0, 3], [1, 2]], [[3, 1], [2, 0]]])
    assert replayed(routed.astype(np.uint8)).routed_experts == bytes([0, 3, 1, 2, 3, 1, 2, 0])
    assert replayed(routed.astype(np.uint16)).routed_experts[:4] == bytes([0, 0, 3, 0])
    assert replayed(np.asfortranarray(routed.astype(np.uint8))).routed_experts[:4] == bytes([0, 3, 1, 2])


def test_experts_asked_for_and_not_told_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"no experts .* of 2 tokens, which engine.routing_replay needs"):
        replayed(None)
    assert read_drawn(output(None), routing_replay=False).routed_experts == b""


@pytest.mark.parametrize("finish", ["abort", "error", "repetition", None])
def test_a_completion_that_did_not_end_by_itself_is_refused(finish: str | None) -> None:
    with pytest.raises(RuntimeError, match=f"of 2 tokens with finish_reason {finish!r}, which is neither"):
        read_drawn(output(None, finish), routing_replay=False)


def test_a_completion_cut_at_the_limit_says_so() -> None:
    assert read_drawn(output(None, "length"), routing_replay=False).finish == "length"


def test_tokens_logprobs_and_versions() -> None:
    drawn = read_drawn(output(None), routing_replay=False)
    assert (drawn.token_ids, drawn.sampler_logprobs, drawn.finish) == ((7, 2), (-0.5, -1.5), "stop")
    assert [(span.policy_version, span.start, span.end) for span in drawn.versions] == [(3, 0, 2)]

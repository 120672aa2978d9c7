"""What of vLLM's output becomes a completion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlvr.rollout.chat import Chat
from rlvr.types import Completion, Finish, Prompt, VersionSpan

FINISHES: dict[str | None, Finish] = {"stop": "stop", "length": "length"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One completion as the engine drew it, before it is decoded."""

    token_ids: tuple[int, ...]  # [T], the closing end-of-turn token included
    sampler_logprobs: tuple[float, ...]  # [T]
    versions: tuple[VersionSpan, ...]
    finish: Finish
    routed_experts: bytes = b""  # as in `Completion`


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What came of loading weights into an engine."""

    size: int  # bytes
    paused_s: float  # how long the engine stood still


def read_drawn(output: Any, *, routing_replay: bool) -> Drawn:
    """Return what a `CompletionOutput` says; raises where it did not end by itself or lacks the experts asked for."""
    if output.finish_reason not in FINISHES:
        raise RuntimeError(
            f"vLLM ended a completion of {len(output.token_ids)} tokens with finish_reason {output.finish_reason!r}, "
            f"which is neither of {', '.join(map(str, FINISHES))}: it is not what the policy would have written"
        )
    if routing_replay and output.routed_experts is None:
        raise RuntimeError(
            f"vLLM told no experts of a completion of {len(output.token_ids)} tokens, which engine.routing_replay needs"
        )
    token_ids = tuple(int(token) for token in output.token_ids)
    logprobs = tuple(step[token].logprob for step, token in zip(output.logprobs, token_ids, strict=True))
    spans = tuple(
        VersionSpan(policy_version=int(span.version), start=span.start, end=span.end)
        for span in output.weight_versions or ()
    )
    return Drawn(
        token_ids=token_ids,
        sampler_logprobs=logprobs,
        versions=spans,
        finish=FINISHES[output.finish_reason],
        routed_experts=output.routed_experts.tobytes() if routing_replay else b"",
    )


def completion(drawn: Drawn, prompt: Prompt, chat: Chat) -> Completion:
    """Return what was drawn with its text."""
    text = chat.decode(drawn.token_ids)
    return Completion(
        token_ids=drawn.token_ids,
        sampler_logprobs=drawn.sampler_logprobs,
        versions=drawn.versions,
        finish=drawn.finish,
        routed_experts=drawn.routed_experts,
        text=text,
        thinking_tokens=chat.thinking_tokens(prompt.prefill + text),
    )

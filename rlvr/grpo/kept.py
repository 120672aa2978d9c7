"""Scored groups as JSON, so that a checkpoint keeps those that have not trained yet, to the bit."""

from __future__ import annotations

import dataclasses
from array import array
from base64 import b64decode, b64encode
from typing import Any

from rlvr.types import Completion, CompletionGroup, Prompt, ScoredGroup, Verdict, VersionSpan


def to_json(scored: ScoredGroup) -> dict[str, Any]:
    """Return all of a group but its prompt, of which it names the problem."""
    group = scored.group
    return {
        "ticket": group.ticket,
        "problem": group.prompt.problem.id,
        "completions": [_completion_to_json(one) for one in group.completions],
        "verdicts": [dataclasses.asdict(one) for one in scored.verdicts],
    }


def from_json(found: dict[str, Any], prompt: Prompt) -> ScoredGroup:
    """Return the group of `prompt` that `to_json` was given."""
    completions = tuple(_completion_from_json(one) for one in found["completions"])
    return ScoredGroup(
        group=CompletionGroup(prompt=prompt, completions=completions, ticket=found["ticket"]),
        verdicts=tuple(Verdict(**one) for one in found["verdicts"]),
    )


def _completion_to_json(one: Completion) -> dict[str, Any]:
    return {
        "token_ids": _packed("q", one.token_ids),
        "sampler_logprobs": _packed("d", one.sampler_logprobs),
        "versions": [dataclasses.astuple(span) for span in one.versions],
        "finish": one.finish,
        "text": one.text,
        "thinking_tokens": one.thinking_tokens,
        "routed_experts": b64encode(one.routed_experts).decode(),
    }


def _completion_from_json(found: dict[str, Any]) -> Completion:
    return Completion(
        token_ids=tuple(_unpacked("q", found["token_ids"])),
        sampler_logprobs=tuple(_unpacked("d", found["sampler_logprobs"])),
        versions=tuple(VersionSpan(policy_version=v, start=start, end=end) for v, start, end in found["versions"]),
        finish=found["finish"],
        text=found["text"],
        thinking_tokens=found["thinking_tokens"],
        routed_experts=b64decode(found["routed_experts"]),
    )


def _packed(kind: str, values: tuple[Any, ...]) -> str:
    return b64encode(array(kind, values).tobytes()).decode()


def _unpacked(kind: str, text: str) -> array[Any]:
    values: array[Any] = array(kind)
    values.frombytes(b64decode(text))
    return values

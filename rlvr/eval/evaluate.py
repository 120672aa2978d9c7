"""Measuring a policy on held-out problems: samples and verdicts in, one record a problem out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rlvr.estimates import avg_at_k, refuse_invalid
from rlvr.ports import ScoredSampler
from rlvr.types import EvalRecord, Prompt, SamplingParams, ScoredGroup


async def evaluate(
    sampler: ScoredSampler, prompts: Sequence[Prompt], params: SamplingParams, *, policy: str
) -> list[EvalRecord]:
    """Sample every prompt `params.group_size` times and return the records in the order of the prompts."""
    groups = await _groups(sampler, prompts, params)
    return [_record(scored, policy=policy, seed=params.seed) for scored in groups]


async def heldout_accuracy(
    sampler: ScoredSampler, prompts: Sequence[Prompt], params: SamplingParams, *, most_invalid: float, where: str
) -> float | None:
    """Return the mean share of right samples a problem, None where no verdict is valid.

    Raises InvalidVerdicts, naming `where`, for a share of invalid verdicts above `most_invalid`.
    """
    groups = await _groups(sampler, prompts, params)
    refuse_invalid(groups, most=most_invalid, where=where)
    accuracy = avg_at_k([_record(scored, policy="", seed=params.seed) for scored in groups]).value
    return None if math.isnan(accuracy) else accuracy


async def _groups(sampler: ScoredSampler, prompts: Sequence[Prompt], params: SamplingParams) -> list[ScoredGroup]:
    position = {prompt.problem.id: index for index, prompt in enumerate(prompts)}
    groups = [group async for group in sampler.scored_groups(prompts, params)]
    groups.sort(key=lambda scored: position[scored.group.prompt.problem.id])
    return groups


def _record(scored: ScoredGroup, *, policy: str, seed: int) -> EvalRecord:
    prompt, completions, verdicts = scored.group.prompt, scored.group.completions, scored.verdicts
    return EvalRecord(
        problem_id=prompt.problem.id,
        question=prompt.problem.question,
        expected=prompt.problem.answer,
        policy=policy,
        seed=seed,
        texts=tuple(prompt.prefill + completion.text for completion in completions),
        statuses=tuple(verdict.status for verdict in verdicts),
        answers=tuple(verdict.answer for verdict in verdicts),
        tokens=tuple(len(completion.token_ids) for completion in completions),
        thinking_tokens=tuple(completion.thinking_tokens for completion in completions),
        truncated=tuple(completion.finish == "length" for completion in completions),
    )

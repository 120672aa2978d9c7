"""Collecting a teacher's traces: sample, verify, keep what is right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rlvr.ports import ScoredSampler, Tracker
from rlvr.types import Prompt, SamplingParams, ScoredGroup, Trace

ROUND = 256  # prompts between two lines of progress


def kept(scored: ScoredGroup, teacher: str) -> list[Trace]:
    """Return the verified-correct, finished completions of a group as traces."""
    prompt = scored.group.prompt
    return [
        Trace(prompt=prompt, completion=completion, verdict=verdict, teacher=teacher)
        for completion, verdict in zip(scored.group.completions, scored.verdicts, strict=True)
        if verdict.correct and completion.finish == "stop"
    ]


async def collect(
    *,
    stage: str,
    sampler: ScoredSampler,
    prompts: Sequence[Prompt],
    params: SamplingParams,
    teacher: str,
    tracker: Tracker,
) -> list[Trace]:
    """Sample every prompt and return the traces worth imitating, in the order of the prompts."""
    traces: list[Trace] = []
    seen = 0
    for number, first in enumerate(range(0, len(prompts), ROUND), start=1):
        part = prompts[first : first + ROUND]
        position = {id(prompt): index for index, prompt in enumerate(part)}
        seeded = replace(params, seed=params.seed + first * params.group_size)
        groups = [group async for group in sampler.scored_groups(part, seeded)]
        for group in sorted(groups, key=lambda scored: position[id(scored.group.prompt)]):
            traces.extend(kept(group, teacher))
        seen += len(part) * params.group_size
        tracker.log(stage, number, {"traces": float(len(traces)), "yield": len(traces) / seen})
    return traces


def write_traces(path: Path, traces: Sequence[Trace]) -> None:
    """Write traces as JSON lines that `datasets` reads: `messages` with the thinking inside, the verdict beside."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    with beside.open("w", encoding="utf-8") as handle:
        for trace in traces:
            problem = trace.prompt.problem
            row = {
                "problem_id": problem.id,
                "messages": [
                    {"role": "user", "content": problem.question},
                    {"role": "assistant", "content": trace.prompt.prefill + trace.completion.text},
                ],
                "answer": problem.answer,
                "status": trace.verdict.status,
                "reward": trace.verdict.reward,
                "tokens": len(trace.completion.token_ids),
                "teacher": trace.teacher,
            }
            handle.write(json.dumps(row, ensure_ascii=False) + "\n")
    beside.replace(path)


def read_traces(path: Path) -> list[tuple[str, str]]:
    """Return (problem id, assistant text) of every written trace."""
    # Not splitlines: it also cuts at U+2028 and its like, which JSON leaves bare inside strings.
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line)
    return [(row["problem_id"], row["messages"][-1]["content"]) for row in rows]

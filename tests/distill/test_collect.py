import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import Call, FakeScoredSampler, FakeTracker, half_right, make_completion, make_prompt, make_verdict

from rlvr.distill.collect import ROUND, collect, kept, read_traces, write_traces
from rlvr.types import Completion, CompletionGroup, Prompt, SamplingParams, ScoredGroup, Trace

PARAMS = SamplingParams(group_size=2, max_tokens=8, temperature=0.7, top_p=0.9, top_k=5, seed=100)


def make_trace(text: str, *, prefill: str = "") -> Trace:
    prompt = replace(make_prompt("p7"), prefill=prefill)
    return Trace(
        prompt=prompt,
        completion=make_completion(3, text=text),
        verdict=make_verdict(1.0),
        teacher="big",
    )


def test_only_right_and_finished_completions_are_kept() -> None:
    completions: tuple[Completion, ...] = (
        make_completion(text="right"),
        make_completion(text="right but cut off", finish="length"),
        make_completion(text="wrong"),
        make_completion(text="unjudged"),
    )
    verdicts = tuple(make_verdict(reward) for reward in (1.0, 1.0, 0.0, None))
    scored = ScoredGroup(group=CompletionGroup(prompt=make_prompt(), completions=completions), verdicts=verdicts)
    (trace,) = kept(scored, "big")
    assert (trace.completion.text, trace.teacher, trace.verdict) == ("right", "big", verdicts[0])


def test_traces_come_in_the_order_of_the_prompts_with_seeds_of_their_own() -> None:
    calls: list[Call] = []
    tracker = FakeTracker()
    seen: list[SamplingParams] = []

    def rewards(prompt: Prompt, params: SamplingParams) -> list[float | None]:
        seen.append(params)
        return half_right(prompt, params)

    prompts = [make_prompt(f"p{index}") for index in range(ROUND + 3)]
    sampler = FakeScoredSampler(calls, rewards)
    found = asyncio.run(
        collect(stage="traces", sampler=sampler, prompts=prompts, params=PARAMS, teacher="big", tracker=tracker)
    )
    assert [trace.prompt for trace in found] == prompts  # one right of two each; the fake finishes the last first
    assert [call[2] for call in calls] == [100, 100 + 2 * ROUND]
    assert tracker.logged == [
        ("traces", 1, {"traces": float(ROUND), "yield": 0.5}),
        ("traces", 2, {"traces": float(ROUND + 3), "yield": 0.5}),
    ]
    assert {replace(params, seed=100) for params in seen} == {PARAMS}


@pytest.mark.parametrize(
    "text",
    [
        "<think>1+1=2</think>\n\\boxed{2}",
        "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\r\nh\ri",  # every character str.splitlines would cut at
        '{"messages": "quoted"} \\n \x00 ünï 思考',
        "",
    ],
)
def test_round_trip(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deep" / "traces.jsonl"
    write_traces(path, [make_trace(text), make_trace("second", prefill="<think>\n")])
    assert read_traces(path) == [("p7", text), ("p7", "<think>\nsecond")]
    assert [one.name for one in path.parent.iterdir()] == ["traces.jsonl"]


def test_no_traces_round_trip(tmp_path: Path) -> None:
    write_traces(tmp_path / "none.jsonl", [])
    assert read_traces(tmp_path / "none.jsonl") == []


def test_a_row_is_what_datasets_reads(tmp_path: Path) -> None:
    write_traces(tmp_path / "t.jsonl", [make_trace("<think>t</think>1")])
    assert json.loads((tmp_path / "t.jsonl").read_text()) == {
        "problem_id": "p7",
        "messages": [{"role": "user", "content": "p7?"}, {"role": "assistant", "content": "<think>t</think>1"}],
        "answer": "1",
        "status": "correct",
        "reward": 1.0,
        "tokens": 3,
        "teacher": "big",
    }

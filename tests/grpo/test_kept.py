import json
import math

from fakes import make_prompt
from hypothesis import given
from hypothesis import strategies as st

from rlvr.grpo.kept import from_json, to_json
from rlvr.types import Completion, CompletionGroup, ScoredGroup, Verdict, VersionSpan

LOGPROBS = st.floats(max_value=0.0, allow_nan=False)
TOKENS = st.lists(st.tuples(st.integers(0, 2**31), LOGPROBS), max_size=5)


@given(TOKENS, st.text(), st.binary(max_size=8), st.sampled_from(["stop", "length"]))
def test_a_group_comes_back_to_the_bit(drawn: list[tuple[int, float]], text: str, experts: bytes, finish: str) -> None:
    completion = Completion(
        token_ids=tuple(token for token, _ in drawn),
        sampler_logprobs=tuple(value for _, value in drawn),
        versions=(VersionSpan(policy_version=3, start=0, end=1), VersionSpan(policy_version=4, start=1, end=2)),
        finish=finish,  # type: ignore[arg-type]
        text=text,
        thinking_tokens=2,
        routed_experts=experts,
    )
    verdicts = (
        Verdict(status="correct", reward=0.1 + 0.2, answer=text, parts={"format": 0.1}, detail="x"),
        Verdict(status="invalid", reward=None, detail="grader crashed"),
    )
    prompt = make_prompt("p")
    scored = ScoredGroup(
        group=CompletionGroup(prompt=prompt, completions=(completion, completion), ticket=17), verdicts=verdicts
    )
    found = from_json(json.loads(json.dumps(to_json(scored))), prompt)
    assert found == scored
    signs = [math.copysign(1, value) for value in found.group.completions[0].sampler_logprobs]
    assert signs == [math.copysign(1, value) for _, value in drawn]

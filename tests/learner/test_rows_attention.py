"""A batch whose shared beginnings are computed once has the log-probs and gradients of its rows, one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_policy import draw_sequences
from transformers import AutoConfig, AutoModelForCausalLM

from rlvr.batch import collate
from rlvr.learner.policy import Policy
from rlvr.learner.rows_attention import FAMILIES, NAME, computes_once
from rlvr.types import TrainSequence


def family_config(family: str) -> Any:
    return AutoConfig.for_model(
        family,
        vocab_size=260,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **({"sliding_window": None} if family == "mistral" else {}),
    )


def make_policy(config: Any, attention: str) -> Policy:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    model.train()
    return Policy(model, chunk=16)


def group_sequences() -> list[TrainSequence]:
    """Two groups of three, one completion twice, and two strangers of other lengths."""
    drawn = draw_sequences(8, seed=5)
    prompts = [drawn[0].token_ids[:6], drawn[1].token_ids[:3]]
    groups = [
        TrainSequence(
            token_ids=prompts[index % 2] + row.token_ids[row.prompt_length :],
            prompt_length=len(prompts[index % 2]),
            loss_weights=row.loss_weights,
            sampler_logprobs=row.sampler_logprobs,
            advantages=row.advantages,
        )
        for index, row in enumerate(drawn[:6])
    ]
    return [*groups, groups[0], *drawn[6:]]


def figures(policy: Policy, sequences: list[TrainSequence]) -> tuple[list[float], list[torch.Tensor]]:
    policy.zero_grad()
    found: list[float] = []
    for batch in [[one] for one in sequences] if policy.model.config._attn_implementation != NAME else [sequences]:
        packed = collate(batch)
        logprobs, _ = policy(packed, 0.8)
        (logprobs * packed.advantages).sum().backward()
        found += logprobs.tolist()
    return found, [parameter.grad.clone() for parameter in policy.parameters()]


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_rows_one_by_one(family: str) -> None:
    config, sequences = family_config(family), group_sequences()
    assert computes_once(config)
    once, rows = (figures(make_policy(config, kind), sequences) for kind in (NAME, "sdpa"))
    assert once[0] == pytest.approx(rows[0], abs=1e-5)
    for found, wanted in zip(once[1], rows[1], strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_shared_beginnings_are_fewer_tokens() -> None:
    batch = collate(group_sequences())
    rows = [row.token_ids for row in group_sequences()]
    assert len(batch.computed) < sum(len(row) - 1 for row in rows)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("mistral", {"sliding_window": 64}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1}),
        ("gemma2", {}),
        ("qwen3_moe", {}),
        ("mamba", {}),
    ],
)
def test_models_that_need_more_than_plain_attention_are_left_to_their_own(family: str, options: dict[str, Any]) -> None:
    assert not computes_once(AutoConfig.for_model(family, **options))

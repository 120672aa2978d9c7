"""Loss and gradient of our presets against TRL's own GRPO trainer, from a model's weights on."""

from __future__ import annotations

from dataclasses import replace
from statistics import stdev
from typing import Any

import pytest
import torch
from fakes import make_prompt, make_verdict
from trl_trainer import VOCABULARY, GivenTrainer, moved, tiny_model

from rlvr.batch import collate
from rlvr.grpo.advantages import EPSILON, z_score
from rlvr.grpo.credit import credit, train_sequences
from rlvr.grpo.loss import PolicyObjective
from rlvr.grpo.presets import PRESETS, Preset
from rlvr.learner.policy import Policy
from rlvr.types import Completion, CompletionGroup, ScoredGroup, TrainSequence

MOST = 12  # longest completion allowed
TRL_EPSILON = 1e-4  # what it adds to a group's deviation; ours is 1e-6
BETA = 0.1
GROUPS = (([5, 2, 12, 7], [1.0, 0.0, 0.0, 1.1]), ([3, 12, 1, 6], [0.0, 1.0, 0.25, 0.0]))  # lengths, rewards
PROMPTS = ((3, 4, 5), (6, 7))

# TRL's CISPO bounds the ratio at epsilon_high where the others take 1 + epsilon_high, and knows no bound below: what is
# 1 + clip_high here is epsilon_high there. Ours has bounds of 0 and 5; 1.3 is one that these ratios meet.
CISPO = replace(PRESETS["cispo"], clip_high=0.3)
# TRL has no geometric mean among its corrections; with that of single tokens GSPO's loss is the same.
GSPO = replace(PRESETS["gspo"], correction="truncated")
TRL: dict[str, tuple[Preset, dict[str, Any]]] = {
    "grpo": (PRESETS["grpo"], {"loss_type": "grpo", "scale_rewards": "group"}),
    "dr_grpo": (PRESETS["dr_grpo"], {"loss_type": "dr_grpo", "scale_rewards": "none"}),
    "dapo": (PRESETS["dapo"], {"loss_type": "dapo", "scale_rewards": "group"}),
    "bnpo": (PRESETS["dapo"], {"loss_type": "bnpo", "scale_rewards": "group"}),
    "cispo": (CISPO, {"loss_type": "cispo", "scale_rewards": "group", "epsilon_high": 1 + CISPO.clip_high}),
    "gspo": (GSPO, {"loss_type": "grpo", "scale_rewards": "group", "importance_sampling_level": "sequence"}),
    "rloo": (PRESETS["rloo"], {"loss_type": "dapo", "scale_rewards": "none"}),
}


class Case:
    """Two groups drawn from one tiny model, to be learned from by a policy that has moved on by `drift`."""

    def __init__(self, kind: str, *, drift: float, mismatch: float, beta: float, preset: Preset | None = None) -> None:
        own, theirs = TRL[kind]
        self.preset = preset or own
        generator = torch.Generator().manual_seed(1)
        self.old = tiny_model(0)
        self.policy = moved(self.old, by=drift, seed=2)
        self.reference = moved(self.old, by=0.2, seed=3) if beta else None
        rows = [(prompt, length) for prompt, (lengths, _) in zip(PROMPTS, GROUPS, strict=True) for length in lengths]
        self.drawn = [torch.randint(VOCABULARY, (length,), generator=generator).tolist() for _, length in rows]
        self.rewards = [reward for _, rewards in GROUPS for reward in rewards]
        self.beta, self.drift = beta, drift
        plain = [
            TrainSequence(token_ids=(*prompt, *row), prompt_length=len(prompt), loss_weights=(1.0,) * len(row))
            for (prompt, _), row in zip(rows, self.drawn, strict=True)
        ]
        self.old_logprobs = self._logprobs(self.old, plain)
        noise = [[mismatch * float(torch.randn((), generator=generator)) for _ in row] for row in self.drawn]
        self.sampler = [
            [old + gap for old, gap in zip(olds, gaps, strict=True)]
            for olds, gaps in zip(self.old_logprobs, noise, strict=True)
        ]
        self.reference_logprobs = self._logprobs(self.reference, plain) if beta else None
        self.trainer = GivenTrainer(
            old=self.old,
            reference=self.reference,
            prompts=[prompt for prompt, _ in rows],
            completions=self.drawn,
            sampler_logprobs=self.sampler if mismatch else None,
            rewards=self.rewards,
            group_size=4,
            **{
                "beta": beta,
                "epsilon_low": self.preset.clip_low,
                "epsilon_high": self.preset.clip_high,
                "importance_sampling_level": "token",
                "max_completion_length": MOST,
                "vllm_importance_sampling_mode": "token_truncate",
                "vllm_importance_sampling_clip_max": self.preset.correction_high,
                **theirs,
            },
        )

    @staticmethod
    def _logprobs(model: Any, sequences: list[TrainSequence]) -> list[list[float]]:
        batch = collate(sequences)
        with torch.no_grad():
            found, _ = Policy(model)(batch, 1.0)
        return [found[batch.segment_ids == row].tolist() for row in range(len(sequences))]

    def sequences(self) -> list[TrainSequence]:
        """Our sequences of the step, of our own credit and reduction, with log-probs from our own forward pass."""
        groups = []
        for number, (tokens, (_, rewards)) in enumerate(zip(PROMPTS, GROUPS, strict=True)):
            completions = tuple(
                Completion(token_ids=tuple(row), sampler_logprobs=tuple(gaps), versions=(), finish="stop", text="")
                for row, gaps in zip(
                    self.drawn[4 * number : 4 * number + 4], self.sampler[4 * number : 4 * number + 4], strict=True
                )
            )
            group = CompletionGroup(prompt=make_prompt(f"p{number}", tokens), completions=completions)
            scored = ScoredGroup(group=group, verdicts=tuple(make_verdict(reward) for reward in rewards))
            credited = credit(scored, self.preset)
            assert credited is not None
            groups.append(credited)
        found = train_sequences(groups, self.preset, max_tokens=MOST)
        return [
            replace(
                one,
                advantages=tuple(factor * value for value in one.advantages),
                old_logprobs=tuple(self.old_logprobs[row]) if self.drift else (),
                reference_logprobs=tuple(self.reference_logprobs[row]) if self.reference_logprobs else (),
            )
            for row, (one, factor) in enumerate(zip(found, self.factors(), strict=True))
        ]

    def factors(self) -> list[float]:
        """What makes our advantages TRL's: another epsilon below z-scores, and no leave-one-out there."""
        if self.preset.advantage == "leave_one_out":
            return [3 / 4] * 8
        if self.preset.advantage == "mean":
            return [1.0] * 8
        return [(stdev(rewards) + EPSILON) / (stdev(rewards) + TRL_EPSILON) for _, rewards in GROUPS for _ in rewards]

    def ours(self) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, float]]:
        """Loss, gradient of every parameter, and metrics as sums over tokens."""
        self.policy.zero_grad()
        batch = collate(self.sequences())
        logprobs, entropy = Policy(self.policy)(batch, 1.0)
        loss, metrics = PolicyObjective(preset=self.preset, kl=self.beta, kl_estimator="k3")(logprobs, entropy, batch)
        loss.backward()
        return loss.detach(), self._gradient(), {name: float(value) for name, value in metrics.items()}

    def theirs(self) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The same of TRL."""
        self.policy.zero_grad()
        loss = self.trainer.loss_of(self.policy, self.trainer.scored())
        loss.backward()
        return loss.detach(), self._gradient()

    def _gradient(self) -> dict[str, torch.Tensor]:
        return {name: one.grad.clone() for name, one in self.policy.named_parameters() if one.grad is not None}


def largest_gap(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    assert ours.keys() == theirs.keys()
    assert sum(float(one.abs().sum()) for one in ours.values()) > 0.1
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


@pytest.mark.parametrize("drift", [0.0, 0.2])
@pytest.mark.parametrize("mismatch", [0.0, 0.8])
@pytest.mark.parametrize("kind", list(TRL))
def test_loss_and_gradient_are_those_of_trl(kind: str, mismatch: float, drift: float) -> None:
    case = Case(kind, drift=drift, mismatch=mismatch, beta=0.0)
    ours, gradient, metrics = case.ours()
    theirs, other = case.theirs()
    assert float(ours) == pytest.approx(float(theirs), abs=1e-5)
    assert largest_gap(gradient, other) < 1e-5
    assert (metrics["clip_fraction"] > 3) == bool(drift)  # the clip is at work where there is something to clip
    assert (metrics["correction_bound"] > 3) == bool(mismatch)


@pytest.mark.parametrize("drift", [0.0, 0.2])
@pytest.mark.parametrize("kind", [kind for kind in TRL if kind != "gspo"])
def test_kl_to_the_reference_is_that_of_trl(kind: str, drift: float) -> None:
    """k3 times p / p_old, TRL's `use_bias_correction_kl`: differentiated, its gradient is d x grad log p, as ours.

    The sampler is the old policy here: TRL weighs KL by p / p_old alone. GSPO's stands below.
    """
    case = Case(kind, drift=drift, mismatch=0.0, beta=BETA)
    ours, gradient, metrics = case.ours()
    theirs, other = case.theirs()
    assert float(ours) == pytest.approx(float(theirs), abs=1e-5)
    assert largest_gap(gradient, other) < 1e-5
    assert metrics["kl"] > 0.1
    _, without, _ = Case(kind, drift=drift, mismatch=0.0, beta=0.0).ours()
    assert largest_gap(gradient, without) > 1e-3


def test_kl_of_gspo_has_trls_value_on_policy() -> None:
    """Off it TRL weighs a token's KL by its completion's ratio, ours by its own, which is what makes it a KL."""
    case = Case("gspo", drift=0.0, mismatch=0.0, beta=BETA)
    assert float(case.ours()[0]) == pytest.approx(float(case.theirs()[0]), abs=1e-5)


def test_gspo_as_preset_is_trls_where_the_sampler_is_the_old_policy() -> None:
    case = Case("gspo", drift=0.2, mismatch=0.0, beta=0.0, preset=PRESETS["gspo"])
    ours, gradient, _ = case.ours()
    theirs, other = case.theirs()
    assert float(ours) == pytest.approx(float(theirs), abs=1e-5)
    assert largest_gap(gradient, other) < 1e-5


def test_z_scores_are_trls_but_for_the_epsilon() -> None:
    case = Case("grpo", drift=0.0, mismatch=0.0, beta=0.0)
    theirs = case.trainer.scored()["advantages"].tolist()
    ours = [value for _, rewards in GROUPS for value in z_score(rewards)]
    scaled = [factor * value for factor, value in zip(case.factors(), ours, strict=True)]
    assert scaled == pytest.approx(theirs, abs=1e-6)
    assert ours != pytest.approx(theirs, abs=1e-5)  # the factor is needed

"""TRL's own GRPO trainer around a tiny model: its sampling and its rewards are given, everything else is its code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

VOCABULARY = 24


def tiny_model(seed: int) -> Any:
    """A model of one layer whose distributions are far from even."""
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = Qwen2Config(
        vocab_size=VOCABULARY, num_key_value_heads=1, max_position_embeddings=64, attn_implementation="sdpa", **shape
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config).train()
        model.lm_head.weight.data *= 10
    return model


def moved(model: Any, *, by: float, seed: int) -> Any:
    """The model with noise on every weight."""
    other = Qwen2ForCausalLM(model.config).train()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for own, source in zip(other.parameters(), model.parameters(), strict=True):
            own.copy_(source + by * source.std() * torch.randn(source.shape, generator=generator))
    return other


class GivenTrainer(GRPOTrainer):
    """What `_generate_and_score_completions` and `_compute_loss` of trl 1.16 read of a trainer, and no more."""

    def __init__(
        self,
        *,
        old: Any,
        reference: Any | None,
        prompts: Sequence[Sequence[int]],
        completions: Sequence[Sequence[int]],
        sampler_logprobs: Sequence[Sequence[float]] | None,
        rewards: Sequence[float],
        group_size: int,
        **arguments: Any,
    ) -> None:
        self.drawn = (list(prompts), list(completions), sampler_logprobs)
        self.rewards = torch.tensor(rewards).unsqueeze(1)
        for model in (old, reference):
            if model is not None:
                add_fused_lm_head(model, temperature=1.0, outputs=("log_probs", "entropy"))
        self.model, self.ref_model = old, reference
        self.accelerator = Accelerator(cpu=True)
        self.num_generations = group_size
        self.num_iterations = 2  # so that it keeps the old policy's log-probs
        self.current_gradient_accumulation_steps = 1
        self.args = SimpleNamespace(
            steps_per_generation=1, gradient_accumulation_steps=1, gradient_checkpointing_kwargs=None, delta=None,
            per_device_train_batch_size=len(completions), use_bias_correction_kl=True, report_to=[],
        )  # fmt: skip
        self.reward_funcs, self.reward_func_names, self.reward_weights = [None], ["reward"], torch.ones(1)
        self.multi_objective_aggregation = "sum_then_normalize"
        self.environment_factories = self.environments = self.tools = self.pad_to_multiple_of = None
        self._tokenizer, self._is_vlm = SimpleNamespace(pad_token_id=0), False
        self.mask_truncated_completions = self.aux_loss_enabled = self._entropy_bonus_enabled = False
        self.log_multimodal = False
        self.top_entropy_quantile, self.off_policy_mask_threshold = 1.0, None
        self.use_vllm = self.vllm_importance_sampling_correction = sampler_logprobs is not None
        self.vllm_importance_sampling_clip_min = None
        self._metrics = {"train": defaultdict(list)}
        self._logs = defaultdict(list, rewards=defaultdict(list))
        self._pending_extra_logs, self._pending_metrics = {}, {}
        vars(self).update(arguments)

    def _generate(self, prompts: Any) -> Any:
        given, completions, sampler = self.drawn
        return given, completions, None, completions, sampler, {}, None, None

    def _calculate_rewards(self, *_: Any) -> Tensor:
        return self.rewards

    def scored(self) -> dict[str, Tensor]:
        """Advantages, the sampler's correction, and the old policy's and the reference's log-probs, all by TRL."""
        found: dict[str, Tensor] = self._generate_and_score_completions([{"prompt": ""} for _ in self.drawn[1]])
        return found

    def loss_of(self, policy: Any, inputs: dict[str, Tensor]) -> Tensor:
        """TRL's loss of `policy`, whose gradient reaches its parameters."""
        add_fused_lm_head(policy, temperature=1.0, outputs=("log_probs", "entropy"))
        loss: Tensor = self._compute_loss(policy, inputs)
        return loss

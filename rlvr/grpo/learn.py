"""What a batch of groups teaches: log-probs that are needed, then `epochs` x `mini_batches` optimizer steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from rlvr.grpo.credit import plain_sequences, weighted, with_batch_credit
from rlvr.grpo.kl import kl_to_go
from rlvr.grpo.loss import PolicyObjective
from rlvr.grpo.metrics import update_metrics
from rlvr.grpo.minibatches import mini_batches
from rlvr.grpo.settings import GrpoSettings
from rlvr.grpo.signal import has_signal
from rlvr.non_finite import count_non_finite
from rlvr.ports import Learner, Tracker
from rlvr.types import CreditedGroup, TrainSequence


class BatchLearner:
    """Takes the optimizer steps of each update and keeps count of those that were not finite."""

    def __init__(self, *, settings: GrpoSettings, learner: Learner, tracker: Tracker) -> None:
        self.settings, self.learner, self.tracker = settings, learner, tracker
        kl = settings.kl
        self.in_loss = kl if kl and kl.where == "loss" else None
        self.in_reward = kl if kl and kl.where == "reward" else None
        self.objective = PolicyObjective(
            preset=settings.preset,
            kl=self.in_loss.coefficient if self.in_loss else 0.0,
            kl_estimator=self.in_loss.estimator if self.in_loss else "k3",
            entropy=settings.entropy,
        )
        self.non_finite = 0

    async def learn(self, groups: Sequence[CreditedGroup], step: int) -> dict[str, float]:
        """Take the optimizer steps of update `step` and return their figures."""
        settings = self.settings
        began = time.perf_counter()
        sizes = [sum(one is not None for one in group.advantages) for group in groups]
        steps = mini_batches(
            sizes, parts=settings.mini_batches, epochs=settings.epochs, seed=f"{settings.params.seed}/{step}"
        )
        signal = [
            self.in_reward is not None or has_signal(group, settings.preset)
            for group, size in zip(groups, sizes, strict=True)
            for _ in range(size)
        ]
        sequences, metrics = await self._prepare(plain_sequences(groups), steps, signal)
        metrics["seconds_logprobs"] = time.perf_counter() - began
        rate = settings.learning_rate * min(1.0, step / (settings.warmup_updates + 1))
        stats = []
        for chosen in steps:
            batch = weighted(
                [sequences[index] for index in chosen], settings.preset, max_tokens=settings.params.max_tokens
            )
            stats.append(await self.learner.update(batch, self.objective, rate, settings.params.temperature))
            self.non_finite = count_non_finite(
                self.non_finite,
                stats[-1],
                batch,
                stage=settings.stage,
                step=step,
                learning_rate=rate,
                tracker=self.tracker,
            )
        metrics["seconds_learn"] = time.perf_counter() - began
        return {**update_metrics(stats), **metrics, "learning_rate": rate}

    async def _prepare(
        self, sequences: Sequence[TrainSequence], steps: Sequence[Sequence[int]], signal: Sequence[bool]
    ) -> tuple[list[TrainSequence], dict[str, float]]:
        """Return the sequences with final advantages and the log-probs the loss needs, and what KL there is."""
        temperature = self.settings.params.temperature
        later = {index for chosen in steps[1:] for index in chosen}  # the policy has moved on when these train
        wanted = range(len(sequences)) if self.in_reward else sorted(later)
        asked = [sequences[index] for index in wanted]
        answers = await self.learner.logprobs(asked, temperature) if asked else []
        old = dict(zip(wanted, answers, strict=True))
        reference = await self.learner.reference_logprobs(sequences, temperature) if self.settings.kl else []
        costs, metrics = None, {}
        if self.in_reward:
            to_go = [kl_to_go(old[index], own) for index, own in enumerate(reference)]
            costs = [[self.in_reward.coefficient * value for value in row] for row in to_go]
            # the first of a row is the KL of the whole completion
            metrics["kl"] = sum(row[0] for row in to_go) / sum(len(row) for row in to_go)
        credited = with_batch_credit(
            sequences, self.settings.preset, costs=costs, clip=self.settings.advantage_clip, signal=signal
        )
        ready = [
            replace(
                sequence,
                old_logprobs=old[index] if index in later else (),
                reference_logprobs=reference[index] if self.in_loss else (),
            )
            for index, sequence in enumerate(credited)
        ]
        return ready, metrics

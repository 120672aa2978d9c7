"""The groups of an update: sampled, verified and credited; where the preset refills, until enough carry a signal.

No group is preferred for finishing early: every prompt of a round is waited for, and groups stay in the order in which
their prompts were issued. A further round asks for as many prompts as groups are missing, so none is left over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rlvr.grpo.advantages import usable
from rlvr.grpo.credit import credit
from rlvr.grpo.difficulty import difficulty_metrics, pass_rates, recorded
from rlvr.grpo.issue import Ledger, issue
from rlvr.grpo.settings import GrpoSettings
from rlvr.grpo.signal import rewards_that_train
from rlvr.ports import ScoredSampler
from rlvr.types import CreditedGroup, Prompt, ScoredGroup

ROUNDS = 4  # of sampling, at most, for one update that refills; a later one would bring few groups for its wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """All groups of an update in the order of issue, each with its credit; None where it has no signal."""

    scored: tuple[ScoredGroup, ...]
    credited: tuple[CreditedGroup | None, ...]
    rounds: int

    @property
    def trained(self) -> list[CreditedGroup]:
        """The groups with signal."""
        return [group for group in self.credited if group is not None]


class Gatherer:
    """Issues prompts and keeps count of them and of how hard each problem is."""

    def __init__(self, *, settings: GrpoSettings, prompts: Sequence[Prompt], sampler: ScoredSampler) -> None:
        self.settings, self.prompts, self.sampler = settings, prompts, sampler
        self.ledger = Ledger()
        self.counts: dict[str, tuple[float, float]] = {}

    def state(self) -> dict[str, Any]:
        """Return what the prompts to come depend on, as JSON has it."""
        difficulty = {name: list(pair) for name, pair in self.counts.items()}
        return {"issued": self.ledger.issued, "in_order": self.ledger.in_order, "difficulty": difficulty}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned and the step it is of; at step 0 there is nothing but the step."""
        usual = state["step"] * self.settings.prompts_per_update
        self.ledger = Ledger(issued=state.get("issued", usual), in_order=state.get("in_order", usual))
        self.counts = {name: (pair[0], pair[1]) for name, pair in state.get("difficulty", {}).items()}

    async def gather(self) -> Gathered:
        """Sample rounds of prompts until `prompts_per_update` groups have a signal, or once without refilling."""
        settings = self.settings
        most = ROUNDS if settings.preset.refill else 1
        scored: list[ScoredGroup] = []
        credited: list[CreditedGroup | None] = []
        rounds, missing = 0, settings.prompts_per_update
        while missing and rounds < most and not self._too_invalid(scored):
            found = await self._round(missing, scored)
            scored += found
            credited += [credit(one, settings.preset, truncated=settings.truncated) for one in found]
            rounds += 1
            missing = settings.prompts_per_update - sum(group is not None for group in credited)
        return Gathered(scored=tuple(scored), credited=tuple(credited), rounds=rounds)

    def metrics(self, gathered: Gathered) -> dict[str, float]:
        """Return what has no signal, what is missing, and how hard the problems are by now.

        Of groups without signal, those of `zero_signal_groups` have equal rewards; `unusable_groups` have too few: the
        others' verdicts are invalid, or they are truncated and masked.
        """
        trained, settings = len(gathered.trained), self.settings
        rewards = [rewards_that_train(one, settings.truncated) for one in gathered.scored]
        unusable = sum(not usable(row, settings.preset.advantage) for row in rewards)
        found = {
            "zero_signal_groups": float(len(gathered.scored) - trained - unusable),
            "unusable_groups": float(unusable),
            "prompts_issued": float(self.ledger.issued),
            **difficulty_metrics(pass_rates(self.counts)),
        }
        if settings.preset.refill:
            found["sample_rounds"] = float(gathered.rounds)
            found["missing_groups"] = float(settings.prompts_per_update - trained)
        return found

    def _too_invalid(self, scored: Sequence[ScoredGroup]) -> bool:
        """Whether the loop is about to stop for a broken verifier, which more groups would not mend."""
        verdicts = [verdict for group in scored for verdict in group.verdicts]
        return sum(one.status == "invalid" for one in verdicts) > self.settings.max_invalid_share * len(verdicts)

    async def _round(self, count: int, before: Sequence[ScoredGroup]) -> list[ScoredGroup]:
        settings, params, issued = self.settings, self.settings.params, self.ledger.issued
        drawn, self.ledger = issue(
            self.prompts,
            self.ledger,
            count=count,
            seed=params.seed,
            rates=pass_rates(self.counts) if settings.curriculum else None,
            busy={scored.group.prompt.problem.id for scored in before},
        )
        prompts = [replace(prompt) for prompt in drawn]  # copies: a prompt drawn twice has two places
        position = {id(prompt): index for index, prompt in enumerate(prompts)}
        params = replace(params, seed=params.seed + issued * params.group_size)
        groups = [group async for group in self.sampler.scored_groups(prompts, params)]
        # Finishing order is the engines' affair; sorted, a step sums its gradients in the same order every time.
        groups.sort(key=lambda scored: position[id(scored.group.prompt)])
        self.counts = recorded(self.counts, groups)
        return groups

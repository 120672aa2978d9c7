"""Every prompt issued and not trained on yet: which are under way, which wait, whether another may be issued.

A book of numbers and values; who waits for whom is in `rlvr/grpo/gather.py`. It is in the checkpoint, so that no prompt
is lost or trained on twice by a run that is killed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlvr.grpo.advantages import usable
from rlvr.grpo.credit import credit
from rlvr.grpo.difficulty import difficulty_metrics, favoured, pass_rates, recorded
from rlvr.grpo.issue import Ledger, issue
from rlvr.grpo.kept import from_json, to_json
from rlvr.grpo.settings import GrpoSettings
from rlvr.grpo.signal import rewards_that_train
from rlvr.grpo.staleness import choose
from rlvr.types import CreditedGroup, Prompt, ScoredGroup, Ticket

MOST_TIMES = 4  # the prompts of an update, at most, in one that refills; more would bring few groups for their wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """The groups of an update in the order of issue, each with its credit; None where it has no signal."""

    scored: tuple[ScoredGroup, ...]
    credited: tuple[CreditedGroup | None, ...]

    @property
    def trained(self) -> list[CreditedGroup]:
        """The groups with signal."""
        return [group for group in self.credited if group is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A group that waits for its update, and the version it was issued under."""

    version: int
    scored: ScoredGroup
    credited: CreditedGroup | None


class Outstanding:
    """Issues tickets and hands out batches; `version` is that of the update whose weights are out."""

    def __init__(self, *, settings: GrpoSettings, prompts: Sequence[Prompt]) -> None:
        self.settings, self.prompts = settings, prompts
        self.by_problem = {prompt.problem.id: prompt for prompt in prompts}
        self.ledger = Ledger()
        self.counts: dict[str, tuple[float, float]] = {}
        self.version = 0
        self.under_way: dict[int, tuple[Prompt, int]] = {}  # ticket -> prompt, version it was issued under
        self.finished: dict[int, Finished] = {}  # in the order of finishing
        self.replaced, self.judged, self.invalid = 0, 0, 0  # finished groups to be replaced; verdicts of finished ones
        self.training = 0  # groups of the update at hand that its batch counts
        self.ranked_at = 0  # prompts issued when the favourites were chosen
        self.favourites: list[str] = []

    def admits(self) -> bool:
        """Whether another prompt may be issued.

        What is issued under a version can be trained on within `max_staleness` further updates: so many batches and the
        one at hand may be outstanding. A group to be replaced counts no longer.
        """
        settings = self.settings
        batches = min(settings.max_staleness + 1, settings.updates - self.version)
        replaced = min(self.replaced, (MOST_TIMES - 1) * settings.prompts_per_update)
        outstanding = len(self.under_way) + len(self.finished) - replaced + self.training
        return outstanding < batches * settings.prompts_per_update and not self._too_invalid()

    def issue(self) -> Ticket:
        """Return a ticket of the next prompt."""
        settings, number = self.settings, self.ledger.issued
        prompt, self.ledger = issue(
            self.prompts,
            self.ledger,
            seed=settings.params.seed,
            favourites=self._free_favourites(),
            ahead=-(-settings.prompts_per_update // 2),  # what of a batch may still come in order
        )
        self.under_way[number] = prompt, self.version
        return Ticket(number=number, prompt=prompt)

    def _free_favourites(self) -> Iterator[Prompt]:
        """Yield those whom a curriculum favours and who are not outstanding."""
        busy = {prompt.problem.id for prompt, _ in self.under_way.values()}
        busy |= {one.scored.group.prompt.problem.id for one in self.finished.values()}
        yield from (self.by_problem[name] for name in self.favourites if name not in busy)

    def arrived(self, scored: ScoredGroup) -> None:
        """Book a group that was sampled and verified; raises KeyError for one that is not under way."""
        _, version = self.under_way.pop(scored.group.ticket)
        self._keep(scored, version)

    def _keep(self, scored: ScoredGroup, version: int) -> None:
        credited = credit(scored, self.settings.preset, truncated=self.settings.truncated)
        one = Finished(version=version, scored=scored, credited=credited)
        self.finished[scored.group.ticket] = one
        self._count(one, 1)

    def _count(self, one: Finished, by: int) -> None:
        """Keep the figures that `admits` asks for at every ticket."""
        statuses = [verdict.status for verdict in one.scored.verdicts]
        self.replaced += by * (not self._counts(one))
        self.judged += by * len(statuses)
        self.invalid += by * statuses.count("invalid")

    def take(self) -> Gathered | None:
        """Return the groups of the next update, or None where some are still to come.

        Beside the groups of its batch these are all that were replaced meanwhile. Fewer than a batch come only where no
        more may be issued.
        """
        settings, size = self.settings, self.settings.prompts_per_update
        counted = [(number, one.version) for number, one in self.finished.items() if self._counts(one)]
        ages = [version for _, version in self.under_way.values()]
        if not ages and not self.admits():
            size = min(size, len(counted))
        elif not counted:
            return None
        chosen = choose(counted, ages, version=self.version, bound=settings.max_staleness, size=size)
        if chosen is None:
            return None
        replaced = [number for number, one in self.finished.items() if not self._counts(one)]
        found = [self.finished.pop(number) for number in sorted([*chosen, *replaced])]
        for one in found:
            self._count(one, -1)
        self.training = len(chosen)
        self.counts = recorded(self.counts, [one.scored for one in found])
        self._rank(self.ledger.issued)
        return Gathered(scored=tuple(one.scored for one in found), credited=tuple(one.credited for one in found))

    def _rank(self, issued: int) -> None:
        """Choose whom a curriculum favours until the next batch is taken."""
        settings, self.ranked_at = self.settings, issued
        if settings.curriculum:
            most = MOST_TIMES * settings.prompts_per_update * (settings.max_staleness + 1)
            self.favourites = favoured(pass_rates(self.counts), count=most, seed=f"{settings.params.seed}/{issued}")

    def release(self, version: int) -> None:
        """Book that the update taken last is over and its weights are out as `version`."""
        self.version, self.training = version, 0

    def _counts(self, one: Finished) -> bool:
        """Whether a group is one of the batch: without refilling all are, else those with signal."""
        return one.credited is not None or not self.settings.preset.refill

    def _too_invalid(self) -> bool:
        """Whether the loop is about to stop for a broken verifier, which more groups would not mend."""
        enough = len(self.finished) >= self.settings.prompts_per_update  # a first group alone says little
        return enough and self.invalid > self.settings.max_invalid_share * self.judged

    def state(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        return {
            "issued": self.ledger.issued,
            "in_order": self.ledger.in_order,
            "ranked_at": self.ranked_at,
            "difficulty": {name: list(pair) for name, pair in self.counts.items()},
            "under_way": [[number, prompt.problem.id] for number, (prompt, _) in self.under_way.items()],
            "finished": [{"version": one.version, **to_json(one.scored)} for one in self.finished.values()],
        }

    def restore(self, state: Mapping[str, Any]) -> list[Ticket]:
        """Go on from what `state` returned and the step it is of, and return the tickets to sample again.

        At step 0 there may be nothing but the step.
        """
        step = state["step"]
        usual = step * self.settings.prompts_per_update
        self.ledger = Ledger(issued=state.get("issued", usual), in_order=state.get("in_order", usual))
        self.counts = {name: (pair[0], pair[1]) for name, pair in state.get("difficulty", {}).items()}
        self._rank(state.get("ranked_at", usual))
        self.release(step)
        # What is sampled again is drawn under the weights of this very step.
        self.under_way = {number: (self.by_problem[name], step) for number, name in state.get("under_way", [])}
        for one in state.get("finished", []):
            self._keep(from_json(one, self.by_problem[one["problem"]]), one["version"])
        return [Ticket(number=number, prompt=prompt) for number, (prompt, _) in self.under_way.items()]

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
            found["missing_groups"] = float(settings.prompts_per_update - trained)
        if settings.max_staleness:
            found["groups_waiting"] = float(len(self.finished))
        return found

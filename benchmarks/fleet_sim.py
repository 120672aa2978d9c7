"""Simulates a fleet and its learner: how long a stage of GRPO takes, who waits for whom, and what bounds it.

Usage: python benchmarks/fleet_sim.py --runs DIR    predicts the runs that `fleet.py` left there, beside what they took
       python benchmarks/fleet_sim.py --curves [--out DIR]   8 to 512 GPUs by roofline arithmetic (nothing measured)

The policy is the product's own: tickets are admitted and batches chosen by `rlvr.grpo.outstanding` and
`rlvr.grpo.staleness` themselves, groups go to the least loaded engine. Engines advance all completions they run by one
token in `step_s(b)` seconds, b of them at a time; the others wait. Exits 1 where a prediction is off by more than 15%.
"""

from __future__ import annotations

import argparse
import functools
import heapq
import json
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from table import Row, finish, markdown

from rlvr.grpo.outstanding import Outstanding
from rlvr.grpo.presets import PRESETS
from rlvr.grpo.settings import GrpoSettings
from rlvr.types import Completion, CompletionGroup, Problem, Prompt, SamplingParams, ScoredGroup, Verdict

BAR = 0.15  # of the measured time


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is simulated. Times in seconds."""

    engines: int
    max_running: int  # completions of one engine at once
    step_s: Callable[[int], float]  # b running -> one token of each
    learn_s: Callable[[int], float]  # tokens of a batch -> one update
    push_s: float  # from the end of an update to the release of the next, engines running
    pause_s: float  # of it: engines paused
    group_size: int
    prompts_per_update: int
    updates: int
    max_staleness: int
    lengths: Sequence[Sequence[int]]  # of the groups' completions, in the order of issue; taken again from the start


@dataclass(slots=True)
class Engine:
    """Advances its completions in lockstep; `done` counts tokens that one running since the start would have."""

    world: World
    done: float = 0.0
    at: float = 0.0  # time up to which it was advanced
    running: list[tuple[float, int]] = field(default_factory=list)  # (done when it ends, ticket)
    waiting: deque[tuple[int, int]] = field(default_factory=deque)  # (length, ticket)
    tokens: float = 0.0
    busy_s: float = 0.0

    @property
    def load(self) -> int:
        """Completions it has."""
        return len(self.running) + len(self.waiting)

    def add(self, lengths: Sequence[int], ticket: int) -> None:
        """Take a group."""
        self.waiting.extend((length, ticket) for length in lengths)
        self._fill()

    def _fill(self) -> None:
        while self.waiting and len(self.running) < self.world.max_running:
            length, ticket = self.waiting.popleft()
            heapq.heappush(self.running, (self.done + length, ticket))

    def next_end(self) -> float:
        """Return when the next completion ends, left alone."""
        if not self.running:
            return float("inf")
        return self.at + (self.running[0][0] - self.done) * self.world.step_s(len(self.running))

    def advance(self, now: float) -> None:
        """Run until `now`, in which no completion ends but at its very end."""
        if self.running and now > self.at:
            steps = (now - self.at) / self.world.step_s(len(self.running))
            self.done += steps
            self.tokens += steps * len(self.running)
            self.busy_s += now - self.at
        self.at = max(self.at, now)

    def ended(self) -> Iterator[int]:
        """Yield the tickets of completions that have ended, and start others in their places."""
        while self.running and self.running[0][0] <= self.done + 1e-6:
            yield heapq.heappop(self.running)[1]
        self._fill()

    def pause(self, until: float) -> None:
        """Stand still."""
        self.at = max(self.at, until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a simulated stage took."""

    seconds: float
    first_s: float  # of it, to the end of the first update: nothing is under way as it begins
    learner_waited: float  # share of the rest
    engines_busy: float  # share of engine time with anything running
    tokens: float

    @property
    def bottleneck(self) -> str:
        """Return what bounds it: who is busy all the time, or the waiting of both for each other."""
        learner = 1 - self.learner_waited
        if max(learner, self.engines_busy) < 0.85:
            return "waiting for each other"
        return "learner" if learner >= self.engines_busy else "engines"


def simulate(world: World) -> Outcome:
    """Run a stage from its first ticket to its last weights."""
    book = Outstanding(settings=_settings(world), prompts=PROBLEMS)
    engines = [Engine(world) for _ in range(world.engines)]
    left: dict[int, int] = {}  # ticket -> completions under way
    loads = [(0, index) for index in range(world.engines)]  # heap; stale entries are put right when met
    ends: list[tuple[float, int]] = []  # heap of when an engine's next completion ends; stale ones are passed over
    now, waited, learning_until, release_at = 0.0, 0.0, float("inf"), float("inf")
    free_since, first_s, step, batch = 0.0, 0.0, 0, None

    def expect(index: int) -> None:
        if (end := engines[index].next_end()) < float("inf"):
            heapq.heappush(ends, (end, index))

    while book.version < world.updates:
        while book.admits():
            while loads[0][0] != engines[loads[0][1]].load:
                heapq.heapreplace(loads, (engines[loads[0][1]].load, loads[0][1]))
            load, index = loads[0]
            if load >= 2 * world.max_running:
                break
            number = book.issue().number
            lengths = _lengths(world, number)
            left[number] = len(lengths)
            engines[index].advance(now)
            engines[index].add(lengths, number)
            heapq.heapreplace(loads, (engines[index].load, index))
            expect(index)
        if batch is None and (batch := book.take()) is not None:
            waited += now - free_since
            step += 1
            tokens = sum(len(one.token_ids) for scored in batch.scored for one in scored.group.completions)
            learning_until = now + world.learn_s(tokens)
        while ends and abs(engines[ends[0][1]].next_end() - ends[0][0]) > 1e-9:
            heapq.heappop(ends)
        now = min(learning_until, release_at, ends[0][0] if ends else float("inf"))
        if ends and ends[0][0] <= now:
            index = heapq.heappop(ends)[1]
            engines[index].advance(now)
            for ticket in engines[index].ended():
                left[ticket] -= 1
                if not left[ticket]:
                    book.arrived(_scored(world, ticket, book))
            heapq.heappush(loads, (engines[index].load, index))
            expect(index)
        if now >= learning_until:
            for index, engine in enumerate(engines):
                engine.advance(now)
                engine.pause(now + world.pause_s)
                expect(index)
            learning_until, release_at = float("inf"), now + world.push_s
        if now >= release_at:
            book.release(step)
            if step == 1:
                first_s, waited = now, 0.0
            batch, release_at, free_since = None, float("inf"), now
    busy = sum(engine.busy_s for engine in engines) / (now * len(engines))
    return Outcome(
        seconds=now,
        first_s=first_s,
        learner_waited=waited / (now - first_s) if now > first_s else 0.0,
        engines_busy=busy,
        tokens=sum(engine.tokens for engine in engines),
    )


def _settings(world: World) -> GrpoSettings:
    return GrpoSettings(
        stage="simulated",
        updates=world.updates,
        prompts_per_update=world.prompts_per_update,
        preset=PRESETS["rloo"],
        learning_rate=0.0,
        warmup_updates=0,
        checkpoint_every=1,
        max_invalid_share=1.0,
        params=SamplingParams(group_size=world.group_size, max_tokens=1),
        max_staleness=world.max_staleness,
    )


def _lengths(world: World, ticket: int) -> Sequence[int]:
    return world.lengths[ticket % len(world.lengths)]


PROBLEMS = [Prompt(problem=Problem(id=str(index), question="?", answer="1"), token_ids=(1,)) for index in range(1024)]


def _scored(world: World, ticket: int, book: Outstanding) -> ScoredGroup:
    completions = tuple(_completion(length) for length in _lengths(world, ticket))
    group = CompletionGroup(prompt=book.under_way[ticket][0], completions=completions, ticket=ticket)
    verdicts = tuple(Verdict(status="wrong", reward=index % 2 * 1.0) for index in range(len(completions)))
    return ScoredGroup(group=group, verdicts=verdicts)


@functools.cache
def _completion(length: int) -> Completion:
    return Completion(token_ids=(0,) * length, sampler_logprobs=(0.0,) * length, versions=(), finish="stop", text="")


def interpolated(points: dict[int, float]) -> Callable[[int], float]:
    """Return a function through measured points (b, seconds), straight between them and beyond the last."""
    import numpy as np

    sizes = sorted(points)
    slope = (points[sizes[-1]] - points[sizes[-2]]) / (sizes[-1] - sizes[-2])

    def at(size: int) -> float:
        if size > sizes[-1]:
            return points[sizes[-1]] + slope * (size - sizes[-1])
        return float(np.interp(size, sizes, [points[one] for one in sizes]))

    table = [at(size) for size in range(1, sizes[-1] + 1)]
    return lambda size: table[size - 1] if size <= len(table) else at(size)


def measured_world(measured: dict[str, object], *, max_staleness: int) -> World:
    """Return the world of the runs that `fleet.py` made, from what it measured apart from their wall times."""
    told = dict(measured)
    fixed, per_token = told["learn"]  # type: ignore[misc]
    steps = {int(size): seconds for size, seconds in told["step_s"].items()}  # type: ignore[attr-defined]
    return World(
        engines=int(told["engines"]),  # type: ignore[call-overload]
        max_running=int(told["max_running"]),  # type: ignore[call-overload]
        step_s=interpolated(steps),
        learn_s=lambda tokens: fixed + per_token * tokens,
        push_s=float(told["push_s"]),  # type: ignore[arg-type]
        pause_s=float(told["pause_s"]),  # type: ignore[arg-type]
        group_size=int(told["group_size"]),  # type: ignore[call-overload]
        prompts_per_update=int(told["prompts"]),  # type: ignore[call-overload]
        updates=int(told["updates"]) + 1,  # type: ignore[call-overload]
        max_staleness=max_staleness,
        lengths=told["lengths"],  # type: ignore[arg-type]
    )


def predictions(folder: Path) -> list[Row]:
    """Return predicted against measured wall times of the runs in `folder`."""
    measured = json.loads((folder / "measured.json").read_text())
    rows = []
    for stale, seconds in measured["seconds"].items():
        found = simulate(measured_world(measured, max_staleness=int(stale)))
        predicted = found.seconds - found.first_s  # as the runs are measured: from the second update on
        off = predicted / seconds - 1
        rows.append(
            Row(
                what=f"max_staleness {stale}, {measured['updates']} updates: predicted / measured",
                figure=f"{predicted:.1f} s / {seconds:.1f} s ({off:+.1%})",
                bar=f"within {BAR:.0%}",
                reached=abs(off) <= BAR,
                notes=[
                    f"learner waits {found.learner_waited:.0%} (measured {measured['waited'][stale]:.0%}), "
                    f"engines busy {found.engines_busy:.0%}; bottleneck: {found.bottleneck}"
                ],
            )
        )
    return rows


PARAMETERS = 7.6e9
HBM_BYTES_S, FLOPS, MFU, OVERHEAD_S = (
    3.35e12,
    989e12,
    0.35,
    0.004,
)  # of one H100: data sheet; assumed share and overhead
CACHE_BYTES = 2 * 28 * 4 * 128 * 2  # of a token: keys and values, layers, heads, width, bytes (Qwen2.5-7B)
MEAN_TOKENS, MOST_TOKENS = 4000, 16384
CURVES = {"sync": 0, "one step off": 1, "async, 4": 4}


def roofline_world(gpus: int, *, share: float, max_staleness: int, updates: int = 8) -> World:
    """Return a 7B model on H100s: engines bound by memory bandwidth, a learner bound by arithmetic.

    Completions are log-normal with a mean of 4,000 tokens, cut at 16,384; 16 of 256 prompts an update.
    """
    import numpy as np

    engines = max(1, min(gpus - 1, round(gpus * share)))
    rng = np.random.default_rng(0)
    sigma = 0.9
    drawn = rng.lognormal(np.log(MEAN_TOKENS) - sigma**2 / 2, sigma, size=(4096, 16))
    lengths = np.clip(drawn, 16, MOST_TOKENS).astype(int).tolist()
    weights_s = 2 * PARAMETERS / HBM_BYTES_S
    cache_s = CACHE_BYTES * MEAN_TOKENS / HBM_BYTES_S
    learners = gpus - engines
    return World(
        engines=engines,
        max_running=256,
        step_s=lambda size: OVERHEAD_S + weights_s + size * cache_s,
        learn_s=lambda tokens: 6 * PARAMETERS * tokens / (FLOPS * MFU * learners) * 4 / 3,  # recomputed activations
        push_s=3.0,
        pause_s=1.0,
        group_size=16,
        prompts_per_update=256,
        updates=updates,
        max_staleness=max_staleness,
        lengths=lengths,
    )


SHARES = (0.25, 0.375, 0.5, 0.625, 0.75)


def curves(out: Path | None) -> list[Row]:
    """Return the best split of 8 to 512 GPUs for each way, and draw updates an hour."""
    rows, drawn = [], dict[str, list[tuple[int, float]]]()
    for name, stale in CURVES.items():
        for gpus in (8, 16, 32, 64, 128, 256, 512):
            tried = [(simulate(roofline_world(gpus, share=share, max_staleness=stale)), share) for share in SHARES]
            best, share = min(tried, key=lambda pair: pair[0].seconds)
            rate = best.tokens / best.seconds / gpus
            drawn.setdefault(name, []).append((gpus, rate))
            figure = f"{rate:,.0f} tokens/s a GPU; {share:.1%} of the GPUs sample; bottleneck: {best.bottleneck}"
            rows.append(Row(what=f"{name}, {gpus} GPUs", figure=figure))
    if out:
        _draw(drawn, out / "curves.png")
    return rows


def _draw(drawn: dict[str, list[tuple[int, float]]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.4), layout="constrained")
    axes = figure.subplots()
    for name, points in drawn.items():
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, linewidth=1.6, label=name)
    axes.set(xscale="log", xlabel="GPUs", ylabel="tokens trained a second and GPU", ylim=(0, None))
    axes.set_xticks([8, 16, 32, 64, 128, 256, 512], ["8", "16", "32", "64", "128", "256", "512"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--curves", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
    rows = predictions(given.runs) if given.runs else []
    rows += curves(given.out) if given.curves else []
    print(markdown(rows))
    finish(rows, given.out / "simulated.md" if given.out else None)


if __name__ == "__main__":
    main()

"""The only file that knows concrete classes: a recipe's sections become problems, verifiers, engines and learners."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import ray

from rlvr.build_verifier import make_verifier
from rlvr.cluster import RankPlaces, actor_options
from rlvr.data.families import find_family
from rlvr.data.overlap import check_disjoint, without_overlap
from rlvr.data.sources import load_problems
from rlvr.errors import ModelError, RecipeError
from rlvr.export.fetch import MODELS
from rlvr.learner.ray_learner import RayLearner, rank_actor
from rlvr.learner.tiny import build_tiny_model
from rlvr.ray_calls import RayActor
from rlvr.recipe import Model, ProblemSet, Recipe
from rlvr.rewards.compose import RewardVerifier
from rlvr.rollout.chat import Chat
from rlvr.rollout.engine_settings import EngineSettings
from rlvr.rollout.ray_fleet import RayFleet
from rlvr.rollout.ray_verifier import RayVerifier
from rlvr.rollout.ray_worker import RolloutWorker
from rlvr.rollout.scored import VerifiedSampler
from rlvr.types import Problem, Prompt, SamplingParams

VERDICTS_A_WORKER = 8  # under way on a node for each of its verifier workers: keeps them busy while verdicts travel
VERDICT_LIMIT_S = 120.0  # for a node's verdict, beside the checks before it: processes start and libraries load


def load_set(chosen: ProblemSet, verifier: str | None = None) -> tuple[Problem, ...]:
    """Return the problems of one section; `verifier` stands in for their own."""
    return load_problems(
        source=chosen.source,
        name=chosen.name,
        count=chosen.count,
        seed=chosen.seed,
        options=chosen.options,
        verifier=verifier,
    )


def problem_sets(recipe: Recipe) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Return training and held-out problems, which share none.

    Rule-made training sets lose what the held-out set happens to contain; between given sets an overlap is an error.
    """
    verifier = recipe.rewards.verifier
    train, heldout = load_set(recipe.problems.train, verifier), load_set(recipe.problems.heldout, verifier)
    if recipe.problems.train.source == "generate":
        train = without_overlap(train, heldout)
    check_disjoint(train, heldout)
    return train, heldout[: recipe.eval.problems]


def materialise(model: Model, recipe: Recipe, folder: Path) -> str:
    """Return a path transformers can load: the model's own, or `folder` with a tiny model built into it."""
    if model.path is not None:
        name = Path(model.path).name
        if name in MODELS and not Path(model.path).exists():
            raise ModelError(f"model.path: {model.path} is not there; bring it with `rlvr fetch {name}`")
        return model.path
    assert model.build is not None  # the recipe gives exactly one of the two
    train = recipe.problems.train
    words = find_family(train.name).words if train.source == "generate" else None
    if words is None:
        raise RecipeError(
            f"model.build: a tiny model needs a rule-made problem family with a vocabulary, not {train.name!r}; "
            "use problems.train.name: chained_sums, or model.path"
        )
    if not folder.exists():
        shape = model.build
        beside = folder.with_name(folder.name + ".part")
        shutil.rmtree(beside, ignore_errors=True)
        build_tiny_model(
            beside,
            words=words(train.options),
            hidden_size=shape.hidden_size,
            layers=shape.layers,
            heads=shape.heads,
            seed=recipe.seed,
        )
        beside.rename(folder)
    return str(folder)


def make_chat(recipe: Recipe, path: str) -> Chat:
    """Return the chat format of the model at `path`."""
    chat = recipe.chat
    return Chat(path, system=chat.system, instruction=chat.instruction, template=chat.template)


def make_prompts(recipe: Recipe, chat: Chat, problems: tuple[Problem, ...]) -> list[Prompt]:
    """Render problems; raises RecipeError where a prompt leaves no room for a completion."""
    prompts = [chat.prompt(problem) for problem in problems]
    longest = max(prompts, key=lambda prompt: len(prompt.token_ids))
    size, room, limit = len(longest.token_ids), recipe.sampling.max_tokens, recipe.engine.max_model_len
    if size + room > limit:
        raise RecipeError(
            f"engine.max_model_len: {limit} cannot hold the prompt of problem {longest.problem.id!r} ({size} tokens) "
            f"and sampling.max_tokens ({room}); raise it to at least {size + room}"
        )
    return prompts


def spread_verifier(recipe: Recipe) -> RewardVerifier | RayVerifier:
    """Return the verifier of a recipe's rewards: here where this machine is all there is, else on every node."""
    rewards, cluster = recipe.rewards, recipe.cluster
    factory = partial(make_verifier, rewards, max_tokens=recipe.sampling.max_tokens)
    if cluster.address is None and cluster.nodes == 1:
        return factory()
    limit_s = VERDICT_LIMIT_S + 2 * VERDICTS_A_WORKER * rewards.deadline_s  # a starved check may take two deadlines
    return RayVerifier(factory, in_flight=VERDICTS_A_WORKER * rewards.workers, limit_s=limit_s)


def training_params(recipe: Recipe) -> SamplingParams:
    """Return how training draws completions."""
    sampling = recipe.sampling
    return SamplingParams(
        group_size=sampling.group_size,
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        seed=recipe.seed,
    )


def eval_params(recipe: Recipe) -> SamplingParams:
    """Return how evaluation draws completions; seeds far from those of training."""
    return replace(
        training_params(recipe),
        group_size=recipe.eval.samples,
        temperature=recipe.eval.temperature,
        seed=recipe.seed + 1_000_000_007,
    )


class Crew:
    """The engines and the learner of a run, pointed at one model after another.

    Starting an engine takes far longer than pushing weights into it, so engines are kept as long as the architecture
    stays the same.
    """

    def __init__(self, recipe: Recipe, notice: Callable[[str], None] = lambda line: None) -> None:
        self.recipe, self.notice = recipe, notice
        self.verifier = spread_verifier(recipe)
        self.fleet: RayFleet | None = None
        self.learner: RayLearner | None = None
        self.engine_path = ""  # the model whose architecture the engines have
        self.weights_of = ""  # the model whose weights they hold

    async def sampler(self, path: str) -> VerifiedSampler:
        """Return engines that hold the model at `path`."""
        if self.fleet is None or self.weights_of != path:
            await self._start_fleet(path)
        assert self.fleet is not None
        return VerifiedSampler(self.fleet, self.verifier)

    async def train(self, path: str) -> tuple[RayLearner, VerifiedSampler]:
        """Return a learner at `path` with a fresh optimizer, and engines that hold the same weights."""
        if self.learner is None:
            self.learner = await self._start_learner(path)
        else:
            await self.learner.restart(path)
        if self.fleet is None or not _same_architecture(self.engine_path, path):
            await self._start_fleet(path)
        assert self.fleet is not None
        await self.fleet.update_weights(await self.learner.weights(), 0)
        self.weights_of = ""  # training moves them; `holds` names them again
        return self.learner, VerifiedSampler(self.fleet, self.verifier)

    def holds(self, path: str) -> None:
        """Note that the engines' current weights are what was exported to `path`."""
        self.weights_of = path

    async def _start_learner(self, path: str) -> RayLearner:
        recipe, learner = self.recipe, self.recipe.learner
        ranks = RayLearner(RankPlaces(rank_actor(), count=learner.ranks, gpus=self._gpu_share(1.0)))
        self.learner = ranks  # from the start: one that is lost as it starts is started again
        settings: dict[str, Any] = {
            "path": path,
            "threads": learner.threads,
            "seed": recipe.seed,
            "dtype": learner.dtype,
            "zero_stage": learner.zero_stage,
            "budget": learner.tokens_per_microbatch,
            "gradient_checkpointing": learner.gradient_checkpointing,
            "lora": learner.lora.model_dump() if learner.lora else None,
            "offload": learner.offload,
            "weight_decay": learner.weight_decay,
            "beta2": learner.beta2,
            "max_grad_norm": learner.max_grad_norm,
        }
        await ranks.start(settings)
        return ranks

    async def _start_fleet(self, path: str) -> None:
        if self.fleet is not None:
            await self.fleet.close()
        engine, gpus = self.recipe.engine, self.recipe.cluster.gpus_per_node > 0
        chat = make_chat(self.recipe, path)
        settings = EngineSettings(
            path=path,
            dtype=engine.dtype,
            max_model_len=engine.max_model_len,
            tensor_parallel=engine.tensor_parallel,
            threads=engine.threads,
            kv_cache_gib=engine.kv_cache_gib,
            max_running=engine.max_running,
            compile=engine.compile,
            eos_ids=chat.eos_ids,
            seed=self.recipe.seed,
            routing_replay=engine.routing_replay,
        )
        actor = ray.remote(RolloutWorker).options(
            max_concurrency=10_000, **actor_options(gpus=self._gpu_share(float(engine.tensor_parallel)))
        )
        self.fleet = RayFleet(
            lambda number: RayActor(actor.remote(settings, gpus)),
            engine.workers,
            chat,
            max_running=engine.max_running,
            notice=self.notice,
        )
        await self.fleet.start()
        self.engine_path = self.weights_of = path

    def _gpu_share(self, wanted: float) -> float:
        """Return the GPUs of one actor: none on CPU, half of the only one where engine and learner share it."""
        cluster = self.recipe.cluster
        if cluster.gpus_per_node == 0:
            return 0.0
        return 0.5 if cluster.nodes * cluster.gpus_per_node == 1 else wanted

    async def close(self) -> None:
        """End engines, ranks and verifier processes."""
        await self.verifier.close()
        if self.fleet is not None:
            await self.fleet.close()
        if self.learner is not None:
            self.learner.close()


def _same_architecture(one: str, other: str) -> bool:
    from transformers import AutoConfig

    left, right = (AutoConfig.from_pretrained(path, trust_remote_code=False).to_dict() for path in (one, other))
    naming = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures"}
    return {k: v for k, v in left.items() if k not in naming} == {k: v for k, v in right.items() if k not in naming}

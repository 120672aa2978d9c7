"""Checks before the first step: template, tokens, verifier, and that engine and learner compute the same numbers."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rlvr.build import Crew, make_chat, make_prompts, materialise, problem_sets, training_params
from rlvr.cluster import check_devices, start_ray
from rlvr.data.code_rows import NO_REFERENCE
from rlvr.errors import DoctorFailed
from rlvr.learner.ray_learner import RayLearner
from rlvr.ports import Verifier
from rlvr.recipe import Recipe
from rlvr.recipe_file import LoadedRecipe
from rlvr.rewards.ready import check_verifiers
from rlvr.rollout.chat import Chat
from rlvr.rollout.scored import VerifiedSampler
from rlvr.types import Completion, Problem, Prompt, ScoredGroup, TrainSequence

SAMPLED = 4  # prompts sampled for the checks
NOISE = 0.1  # relative change of every parameter before the second comparison
# Largest mean and single difference of log-probs of the same tokens. In float32 the two sides differ by rounding
# alone; in bfloat16 each carries three decimal digits.
TOLERANCE = {"float32": (1e-5, 1e-3), "bfloat16": (0.05, 1.0)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at: whether it held, the figure or text seen, and what to change if it did not."""

    name: str
    ok: bool
    figure: str
    fix: str = ""
    note: bool = False  # worth seeing, but nothing that could fail


def template_checks(chat: Chat, prompt: Prompt, *, trained: bool) -> Iterator[Check]:
    """Check the chat template, token round trip, end-of-turn ids and padding."""
    tokenizer = chat.tokenizer
    text = tokenizer.decode(prompt.token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    yield Check(
        name="prompt holds the question",
        ok=prompt.problem.question.strip() in text,
        figure=repr(text[-120:]),
        fix="the template or tokenizer loses part of the question; set chat.template, or use another model",
    )
    again = tuple(tokenizer.encode(text, add_special_tokens=False))
    yield Check(
        name="prompt tokens round-trip",
        ok=again == prompt.token_ids,
        figure=f"{len(prompt.token_ids)} tokens",
        fix="the tokenizer cannot represent the prompt; use a tokenizer whose vocabulary covers it",
    )
    answer = "<think>1</think>\\boxed{1}"
    turn = [*chat.messages(prompt.problem), {"role": "assistant", "content": answer}]
    whole = chat.render(turn, open_turn=False)
    yield Check(
        name="template keeps <think> in the assistant's turn",
        ok="<think>" in whole or not trained,
        figure=repr(whole[-60:]),
        fix="the template drops the thinking from training text; set chat.template to one that keeps it",
    )
    closing = tokenizer.encode(whole[whole.rfind("\\boxed{1}") + len("\\boxed{1}") :], add_special_tokens=False)
    yield Check(
        name="the turn ends with an end-of-turn token",
        ok=bool(closing) and closing[0] in chat.eos_ids,
        figure=f"template closes with id {closing[0] if closing else None}; engine stops at {list(chat.eos_ids)}",
        fix="add the template's closing token to eos_token_id in generation_config.json",
    )
    body = tokenizer.encode(answer, add_special_tokens=False)
    yield Check(
        name="completion tokens round-trip",
        ok=chat.decode(body) == answer,
        figure=repr(chat.decode(body)),
        fix="the tokenizer cannot represent the thinking tags and box; use another tokenizer",
    )
    same = tokenizer.pad_token_id in chat.eos_ids
    yield Check(
        name="padding cannot hide the end of turn",
        ok=True,
        note=True,
        figure=f"pad id {tokenizer.pad_token_id} {'is' if same else 'is not'} an end-of-turn id; masks go by length",
    )


def _answers(problem: Problem) -> list[tuple[str, str, str]]:
    """What each kind of answer is called, reads, and must be judged."""
    right, wrong = f"\\boxed{{{problem.answer}}}", "\\boxed{918273645}"
    if problem.verifier == "code":
        right, wrong = f"\n```python\n{problem.answer}\n```", "\n```python\nraise SystemExit\n```"
    found = [("a right answer", right, "correct"), ("a wrong answer", wrong, "wrong"), ("no answer", "", "no_answer")]
    if problem.answer == NO_REFERENCE:
        del found[0]
    return [(name, f"<think>because</think>{text}", expected) for name, text, expected in found]


def sandbox_checks(recipe: Recipe, prompts: Sequence[Prompt]) -> list[Check]:
    """Say what isolates the programs a model writes, where it writes any; raises UserError where that is too little."""
    isolation = check_verifiers((prompt.problem for prompt in prompts), sandbox=recipe.rewards.sandbox)
    return [Check(name="sandbox of programs", ok=True, note=True, figure=str(isolation))] if isolation else []


async def verifier_checks(verifier: Verifier, prompt: Prompt) -> list[Check]:
    """Check that a known right answer is correct, a wrong one is wrong, and none is none.

    What a function of the user should say of a text only the user knows: it must give a verdict at all.
    """
    problem = prompt.problem
    own = ":" in problem.verifier
    checks = []
    for name, text, expected in _answers(problem):
        written = text.removeprefix("<think>") if prompt.prefill else text
        completion = Completion(token_ids=(0,), sampler_logprobs=(0.0,), versions=(), finish="stop", text=written)
        verdict = await verifier.verify(problem, completion, prompt.prefill)
        checks.append(
            Check(
                name=f"verifier on {name}",
                ok=verdict.status != "invalid" if own else verdict.status == expected,
                figure=f"{verdict.status}, reward {verdict.reward}",
                fix=f"{problem.verifier} fails: {verdict.detail}"
                if own
                else f"expected {expected} for {text!r} of problem {problem.id!r}; check its answer and its verifier",
            )
        )
    return checks


def _sequences(groups: Sequence[ScoredGroup]) -> list[TrainSequence]:
    return [
        TrainSequence(
            token_ids=(*group.group.prompt.token_ids, *completion.token_ids),
            prompt_length=len(group.group.prompt.token_ids),
            loss_weights=(1.0,) * len(completion.token_ids),
            sampler_logprobs=completion.sampler_logprobs,
            routed_experts=completion.routed_experts,
        )
        for group in groups
        for completion in group.group.completions
    ]


async def _agreement(
    name: str, recipe: Recipe, learner: RayLearner, sampler: VerifiedSampler, prompts: Sequence[Prompt]
) -> tuple[Check, list[ScoredGroup]]:
    groups = [group async for group in sampler.scored_groups(prompts, training_params(recipe))]
    sequences = _sequences(groups)
    policy = await learner.logprobs(sequences, recipe.sampling.temperature)
    gaps = [
        abs(ours - theirs)
        for sequence, row in zip(sequences, policy, strict=True)
        for ours, theirs in zip(row, sequence.sampler_logprobs, strict=True)
    ]
    mean, most = sum(gaps) / len(gaps), max(gaps)
    precise = recipe.engine.dtype == recipe.learner.dtype == "float32"
    mean_limit, limit = TOLERANCE["float32" if precise else "bfloat16"]
    check = Check(
        name=name,
        ok=mean < mean_limit and most < limit,
        figure=f"mean {mean:.1e}, max {most:.1e} over {len(gaps)} tokens",
        fix="engine and learner disagree on the same tokens: the weight update or the numerics are wrong; "
        "use the same dtype on both sides and an architecture that both support",
    )
    return check, groups


def _moved(before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]) -> Check:
    """Check that the change is large enough for an engine that missed it to be noticed."""
    gaps = [abs(one - two) for old, new in zip(before, after, strict=True) for one, two in zip(old, new, strict=True)]
    mean = sum(gaps) / len(gaps)
    return Check(
        name="changing every tensor moves the log-probs",
        ok=mean > 100 * TOLERANCE["float32"][0],
        figure=f"by {mean:.1e} on average",
        fix="the model's output hardly depends on its weights; are they loaded?",
    )


async def examine(
    recipe: Recipe, path: str, learner: RayLearner, sampler: VerifiedSampler, prompts: Sequence[Prompt]
) -> list[Check]:
    """Run every check with learner and engines at the model of `path`, and leave both as they were."""
    chat = make_chat(recipe, path)
    some = list(prompts[:SAMPLED])
    checks = list(template_checks(chat, some[0], trained=True))
    checks += await asyncio.to_thread(sandbox_checks, recipe, some)
    checks += await verifier_checks(sampler.verifier, some[0])
    first, groups = await _agreement("learner and engine agree at start", recipe, learner, sampler, some)
    text = groups[0].group.completions[0].text
    verdict = groups[0].verdicts[0]
    checks.append(Check(name="a sampled completion", ok=True, note=True, figure=f"{text[:200]!r} -> {verdict.status}"))
    checks.append(first)
    before = await learner.logprobs(_sequences(groups), recipe.sampling.temperature)
    await learner.perturb(by=NOISE, seed=recipe.seed)
    after = await learner.logprobs(_sequences(groups), recipe.sampling.temperature)
    checks.append(_moved(before, after))
    await sampler.update_weights(await learner.weights(), 1)
    second, _ = await _agreement("learner and engine agree after every tensor changed", recipe, learner, sampler, some)
    checks.append(second)
    await learner.restart(path)
    await sampler.update_weights(await learner.weights(), 0)
    return checks


def as_rows(checks: Sequence[Check]) -> list[dict[str, object]]:
    """Return the checks as the run folder keeps them."""
    return [asdict(check) for check in checks]


def require(checks: Sequence[Check]) -> None:
    """Raise DoctorFailed naming the first check that failed, its figure and the fix."""
    failed = [check for check in checks if not check.ok]
    if failed:
        lines = [f"doctor: {check.name}: {check.figure}; {check.fix}" for check in failed]
        raise DoctorFailed("\n".join(lines))


def run_doctor(loaded: LoadedRecipe) -> bool:
    """Start learner and engines, print every check, and return whether all held."""
    from rich.console import Console
    from rich.table import Table

    from rlvr.report.escape import escape_terminal

    checks = asyncio.run(_alone(loaded.recipe))
    table = Table("check", "", "seen", title=f"doctor {loaded.recipe.name}")
    for check in checks:
        mark = "seen" if check.note else "[green]ok[/]" if check.ok else "[red]FAILED[/]"
        table.add_row(check.name, mark, escape_terminal(check.figure + ("" if check.ok else f"; {check.fix}")))
    Console().print(table)
    return all(check.ok for check in checks)


async def _alone(recipe: Recipe) -> list[Check]:
    check_devices(recipe)
    train, _ = problem_sets(recipe)
    with tempfile.TemporaryDirectory() as scratch:
        path = materialise(recipe.model, recipe, Path(scratch) / "model")
        prompts = make_prompts(recipe, make_chat(recipe, path), train[:SAMPLED])
        start_ray(recipe)
        crew = Crew(recipe)
        try:
            learner, sampler = await crew.train(path)
            return await examine(recipe, path, learner, sampler, prompts)
        finally:
            await crew.close()

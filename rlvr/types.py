"""What flows through rlvr: frozen values, each stage wrapping the one before it.

Letters used in shapes: G completions a group, T tokens of a completion, L tokens of prompt + completion, B rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["correct", "wrong", "no_answer", "malformed", "timeout", "invalid"]
Finish = Literal["stop", "length"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A question with a checkable answer; `verifier` names who checks it.

    `metadata` is JSON that the verifier needs beyond the answer (countdown's numbers, a row's columns). `system` is the
    system message the question came with. A verifier of the user (`package.module:function`) may need no answer.
    """

    id: str
    question: str
    answer: str
    verifier: str = "math"
    source: str = ""
    metadata: str = ""
    system: str = ""

    def __post_init__(self) -> None:
        if not self.question.strip() or not (self.answer.strip() or ":" in self.verifier):
            raise ValueError(f"problem {self.id!r} needs a question and an answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A problem rendered once by the chat template.

    `prefill` is the part of the assistant's turn that the template already wrote ("<think>\\n" or ""); what a
    verifier reads is `prefill + completion.text`.
    """

    problem: Problem
    token_ids: tuple[int, ...]  # [L0]
    prefill: str = ""

    def __post_init__(self) -> None:
        if not self.token_ids:
            raise ValueError(f"prompt of problem {self.problem.id!r} has no tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A prompt to sample. Its number in the stage is for good: seed and place in the ledger come of it."""

    number: int
    prompt: Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How completions are drawn. `seed` makes a request repeatable; `top_k=0` means no limit."""

    group_size: int
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.group_size < 1 or self.max_tokens < 1:
            raise ValueError(f"group_size {self.group_size} and max_tokens {self.max_tokens} must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSpan:
    """Tokens [start, end) of a completion were sampled under `policy_version`."""

    policy_version: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What the engine sampled: tokens as they were drawn, never re-tokenised text.

    `sampler_logprobs[t]` is the log-probability of `token_ids[t]` in the distribution it was drawn from
    (after temperature). `text` is those tokens decoded, without the closing EOS; `thinking_tokens` counts the tokens of
    the part inside `<think>...</think>`, for figures only. `routed_experts` is where the engine tells them.
    """

    token_ids: tuple[int, ...]  # [T]
    sampler_logprobs: tuple[float, ...]  # [T]
    versions: tuple[VersionSpan, ...]
    finish: Finish
    text: str
    thinking_tokens: int = 0
    routed_experts: bytes = b""  # [L - 1, layers, experts a token] of uint8 or uint16, prompt and completion

    def __post_init__(self) -> None:
        if len(self.token_ids) != len(self.sampler_logprobs):
            raise ValueError(f"{len(self.token_ids)} tokens but {len(self.sampler_logprobs)} log-probs")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionGroup:
    """The completions of one prompt."""

    prompt: Prompt
    completions: tuple[Completion, ...]  # [G]
    ticket: int = 0  # its number

    def __post_init__(self) -> None:
        if not self.completions:
            raise ValueError(f"group of problem {self.prompt.problem.id!r} is empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A judgement of one completion.

    `invalid` is our failure (a crashed verifier) and carries no reward; every other status is the model's doing and has
    one. `answer` is what was extracted, `parts` the named components that sum to the reward.
    """

    status: Status
    reward: float | None
    answer: str | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    detail: str = ""

    def __post_init__(self) -> None:
        if (self.reward is None) != (self.status == "invalid"):
            raise ValueError(f"a verdict has no reward exactly when it is invalid: {self.status!r}, {self.reward!r}")

    @property
    def correct(self) -> bool:
        """Whether the answer was judged right."""
        return self.status == "correct"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredGroup:
    """A group with one verdict a completion, in the same order."""

    group: CompletionGroup
    verdicts: tuple[Verdict, ...]  # [G]

    def __post_init__(self) -> None:
        if len(self.verdicts) != len(self.group.completions):
            raise ValueError(f"{len(self.group.completions)} completions but {len(self.verdicts)} verdicts")


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditedGroup:
    """A scored group with the credit of each completion or of each of its tokens; None where nothing of it trains."""

    scored: ScoredGroup
    advantages: tuple[float | tuple[float, ...] | None, ...]  # [G] or [G][T]

    def __post_init__(self) -> None:
        if len(self.advantages) != len(self.scored.verdicts):
            raise ValueError(f"{len(self.scored.verdicts)} verdicts but {len(self.advantages)} advantages")
        for completion, credit in zip(self.scored.group.completions, self.advantages, strict=True):
            if isinstance(credit, tuple) and len(credit) != len(completion.token_ids):
                raise ValueError(f"{len(completion.token_ids)} tokens but {len(credit)} advantages")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSequence:
    """One row to learn from: prompt tokens, then T target tokens with what the loss needs for each.

    `loss_weights` already carries the reduction over the whole batch (token mean: 1 / all target tokens), so a loss is
    a plain sum and cannot depend on micro-batches, order or ranks. A weight of 0 trains nothing. Example, a prompt of
    three tokens and a completion of two in a batch of ten target tokens:
    `token_ids=(5, 6, 7, 8, 2)`, `prompt_length=3`, `loss_weights=(0.1, 0.1)`.
    """

    token_ids: tuple[int, ...]  # [L]
    prompt_length: int
    loss_weights: tuple[float, ...]  # [T], T = L - prompt_length
    sampler_logprobs: tuple[float, ...] = ()  # [T], or empty for imitation
    advantages: tuple[float, ...] = ()  # [T], or empty for imitation
    old_logprobs: tuple[float, ...] = ()  # [T], or empty where the policy itself is the old one
    reference_logprobs: tuple[float, ...] = ()  # [T], or empty where no KL is asked for
    routed_experts: bytes = b""  # of the completion's sampler, or empty where the policy's routers choose

    def __post_init__(self) -> None:
        targets = len(self.token_ids) - self.prompt_length
        if self.prompt_length < 1 or targets < 1:
            raise ValueError(f"a sequence needs prompt and target tokens: {self.prompt_length} and {targets}")
        for name in ("loss_weights", "sampler_logprobs", "advantages", "old_logprobs", "reference_logprobs"):
            found = len(getattr(self, name))
            if found != targets and (found or name == "loss_weights"):
                raise ValueError(f"{name} has {found} entries for {targets} target tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateStats:
    """What one optimizer step did; means are over target tokens with a non-zero weight.

    `applied` is False where the gradient was not finite: the parameters are then as they were.
    """

    loss: float
    grad_norm: float
    tokens: int
    seconds: float
    applied: bool = True
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One verified completion of a teacher, kept to imitate."""

    prompt: Prompt
    completion: Completion
    verdict: Verdict
    teacher: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRecord:
    """All samples of one held-out problem by one policy; written as one JSON line."""

    problem_id: str
    question: str
    expected: str
    policy: str
    seed: int
    texts: tuple[str, ...]  # [k]
    statuses: tuple[Status, ...]  # [k]
    answers: tuple[str | None, ...]  # [k]
    tokens: tuple[int, ...]  # [k] completion lengths
    thinking_tokens: tuple[int, ...]  # [k] tokens inside <think>...</think>
    truncated: tuple[bool, ...]  # [k] stopped by the length limit

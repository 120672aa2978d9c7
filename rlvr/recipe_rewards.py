"""The rewards section of a recipe: what a verdict is worth, and how it comes about."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rlvr.recipe_section import Section

When = Annotated[
    Literal["always", "correct"], Field(description="Which completions the part counts for: all, or only right ones.")
]


class MathRules(Section):
    """What counts as equal in mathematics where usage differs."""

    ordered_lists: bool = Field(False, description="Whether a bare list must stand in the order of the reference.")
    percent: Literal["either", "fraction", "points"] = Field(
        "either", description="What 50% equals: 0.5 (fraction), 50 (points), or both."
    )
    units: Literal["ignore", "require"] = Field(
        "ignore", description="Whether a unit on one side only is ignored, or makes the answer wrong."
    )
    decimal_comma: bool = Field(False, description="Whether 1,22 may also be read as 1.22.")
    tolerance: float = Field(0.0, ge=0, lt=0.5, description="Relative error a number may have; at 0 1/3 is not 0.333.")


class OverlongPart(Section):
    """Soft overlong punishment: a ramp down to the length limit (DAPO)."""

    cache: int = Field(ge=1, description="Tokens before sampling.max_tokens over which the part falls from 0.")
    weight: float = Field(1.0, gt=0, le=100, description="What a completion at sampling.max_tokens loses.")
    when: When = "always"


class LengthPart(Section):
    """Length shaping towards a target (LCPO of L1)."""

    form: Literal["exact", "max"] = Field(description="Whether the length should be near the target, or below it.")
    target: int = Field(ge=1, le=1_048_576, description="Wanted length of a completion in tokens.")
    alpha: float = Field(0.0003, gt=0, le=1, description="Share of the reward for a right answer that a token costs.")
    delta: float = Field(0.5, ge=0, le=1, description="Share that is left at the target; only for form max.")
    when: When = "always"


class RepetitionPart(Section):
    """N-gram repetition penalty."""

    ngram: int = Field(ge=1, le=100, description="Length of the runs of tokens that are looked for again.")
    weight: float = Field(1.0, gt=0, le=100, description="What a completion of nothing but repetition would lose.")
    when: When = "always"


class LanguagePart(Section):
    """Language-mix penalty: letters in scripts the question is not written in."""

    weight: float = Field(1.0, gt=0, le=100, description="What a completion wholly in another script loses.")
    when: When = "always"


class Rewards(Section):
    """What a verdict is worth; the parts are added up and logged one by one."""

    verifier: str | None = Field(
        None, description="Verifier of every problem, such as package.module:function; each problem's own if none."
    )
    correct: float = Field(1.0, gt=0, le=100, description="Reward of a right final answer.")
    format: float = Field(0.0, ge=0, le=100, description="Reward of well-formed thinking followed by an answer.")
    overlong: OverlongPart | None = Field(None, description="Penalty for nearing the length limit; none if left out.")
    length: LengthPart | None = Field(None, description="Penalty by length, towards a target; none if left out.")
    repetition: RepetitionPart | None = Field(None, description="Penalty for repetition; none if left out.")
    language: LanguagePart | None = Field(None, description="Penalty for mixing languages; none if left out.")
    thinking: Literal["required", "optional"] = Field(
        "required", description="Whether a right answer without thinking counts as right."
    )
    loose_answer: bool = Field(
        False, description="Accept the last formula or number of the text where no answer is marked otherwise."
    )
    math: MathRules | None = Field(None, description="Conventions of mathematical answers; the defaults if left out.")
    partial: bool = Field(
        False, description="Whether the share of passed code tests is rewarded, not only all of them."
    )
    sandbox: Literal["strict", "standard"] = Field(
        "standard", description="Weakest isolation accepted for code a model wrote; the run is refused below it."
    )
    workers: int = Field(
        1, ge=1, le=256, description="Verifier processes for symbolic checks and code, and threads for functions."
    )
    deadline_s: float = Field(
        3.0, gt=0, le=600, description="Wall seconds that one symbolic check or call of a function may take."
    )
    max_invalid_share: float = Field(
        0.05, ge=0, le=1, description="Share of invalid verdicts in a step above which the run stops."
    )

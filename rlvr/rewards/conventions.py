"""What counts as equal where usage differs; every default is the one measured on labelled answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rlvr.errors import RecipeError


@dataclass(frozen=True, slots=True, kw_only=True)
class MathConventions:
    """Choices that a data set, not mathematics, decides.

    `ordered_lists`: a bare list `1, 2` must stand in the order of the reference; `(1,2)` always, `\\{1,2\\}` never.
    `percent`: what 50% equals, 0.5 ("fraction"), 50 ("points") or both ("either").
    `units`: whether a unit on one side only is ignored ("ignore") or makes the answer wrong ("require").
    `decimal_comma`: 1,22 may also be read as 1.22.
    `tolerance`: the error a numeric answer may have, relative to the reference; 0 is exact, so that 1/3 is not 0.333.
    """

    ordered_lists: bool = False
    percent: Literal["either", "fraction", "points"] = "either"
    units: Literal["ignore", "require"] = "ignore"
    decimal_comma: bool = False
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if self.percent not in ("either", "fraction", "points"):
            raise RecipeError(f"percent is {self.percent!r}: use either, fraction or points")
        if self.units not in ("ignore", "require"):
            raise RecipeError(f"units is {self.units!r}: use ignore or require")
        if not 0.0 <= self.tolerance < 0.5:
            raise RecipeError(f"tolerance is {self.tolerance!r}: use a relative error from 0 to below 0.5")


EXACT = MathConventions()

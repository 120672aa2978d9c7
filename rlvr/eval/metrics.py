"""The figures of an evaluation, under the name evaluation code looks for them.

They are computed in `rlvr.estimates`, a low module, because the report shows them too and may not import this package.
"""

from rlvr.estimates import (
    Estimate,
    EvalSummary,
    avg_at_k,
    interval,
    maj_at_k,
    majority,
    paired_gain,
    pass_at_k,
    pass_at_k_of,
    summarise,
)

__all__ = [
    "Estimate",
    "EvalSummary",
    "avg_at_k",
    "interval",
    "maj_at_k",
    "majority",
    "paired_gain",
    "pass_at_k",
    "pass_at_k_of",
    "summarise",
]

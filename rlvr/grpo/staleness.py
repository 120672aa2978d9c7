"""How old a token may be: which groups an update takes, so that none is ever older than the bound allows.

Age is counted in updates: of a token drawn under version v that trains on top of version s it is s - v. A group is as
old as the version it was issued under, so that its tokens are no older.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from rlvr.types import Completion


def choose(
    finished: Sequence[tuple[int, int]], under_way: Collection[int], *, version: int, bound: int, size: int
) -> list[int] | None:
    """Return the tickets of the next batch of `size`, or None where it has to wait.

    `finished` holds (ticket, version issued under) in the order of finishing, `under_way` the versions of those that
    are not. The oldest are taken first, those that finished first among equals. A batch waits for a group only where
    that would be too old later, or would leave later updates more than fits: of the groups issued under version -
    bound + j or before, at most j x size may be left.
    """
    if len(finished) < size:
        return None
    taken = sorted(finished, key=lambda pair: pair[1])[:size]
    for later in range(bound + 1):
        edge = version - bound + later
        left = _until(edge, (v for _, v in finished)) + _until(edge, under_way) - _until(edge, (v for _, v in taken))
        if left > later * size:
            return None
    return [ticket for ticket, _ in taken]


def _until(edge: int, versions: Iterable[int]) -> int:
    return sum(version <= edge for version in versions)


def staleness_metrics(completions: Sequence[Completion], *, version: int, bound: int) -> dict[str, float]:
    """Return the mean and largest age of the tokens that train on top of `version`, and each age's share of them.

    Raises RuntimeError where one is older than the bound, or of no known version: it must not reach the learner.
    """
    ages = [0] * (bound + 1)
    for completion in completions:
        ends = [0, *(span.end for span in completion.versions)]
        if [span.start for span in completion.versions] != ends[:-1] or ends[-1] != len(completion.token_ids):
            raise RuntimeError(f"{len(completion.token_ids)} tokens have versions {completion.versions}, not one each")
        for span in completion.versions:
            age = version - span.policy_version
            if not 0 <= age <= bound:
                raise RuntimeError(
                    f"tokens drawn under version {span.policy_version} are to train on top of {version}, "
                    f"which is not within max_staleness {bound}"
                )
            ages[age] += span.end - span.start
    total = sum(ages)
    if not total:
        return {}
    found = {f"staleness_{age}": count / total for age, count in enumerate(ages)} if bound else {}
    largest = max(age for age, count in enumerate(ages) if count)
    mean = sum(age * count for age, count in enumerate(ages)) / total
    return {"staleness_mean": mean, "staleness_max": float(largest), **found}

"""What the engines did, as figures of a step."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from rlvr.rollout.ray_worker import Seat
from rlvr.rollout.vllm_drawn import Drawn, Loaded


class FleetFigures:
    """Counts since the last `take`."""

    def __init__(self) -> None:
        self.tokens: Counter[int] = Counter()
        self.paused, self.restarts, self.since = 0.0, 0, time.perf_counter()
        self.weights_bytes = 0  # of the last load, not of all: a run that was resumed has loaded once more

    def drew(self, worker: int, drawn: Sequence[Drawn]) -> None:
        """Count a finished group."""
        self.tokens[worker] += sum(len(one.token_ids) for one in drawn)

    def loaded(self, loaded: Loaded) -> None:
        """Count a worker's loading of weights."""
        self.paused += loaded.paused_s
        self.weights_bytes = loaded.size

    def take(self, seats: Sequence[Seat], max_running: int) -> dict[str, float]:
        """Return tokens a second of each engine, engines alive, completions running and queued, the seconds an engine
        was paused to load weights, the bytes of the last ones, and how many workers were started again.
        """
        now, restarts = time.perf_counter(), sum(seat.restarts for seat in seats)
        found = {
            f"engine_{seat.number}_tokens_per_s": self.tokens[seat.number] / (now - self.since) for seat in seats
        } | {
            "engines_alive": float(sum(seat.ready for seat in seats)),
            "running": float(sum(min(seat.load, max_running) for seat in seats)),
            "queued": float(sum(max(0, seat.load - max_running) for seat in seats)),
            "seconds_paused": self.paused / len(seats),
            "weights_bytes": float(self.weights_bytes),
            "restarts": float(restarts - self.restarts),
        }
        self.tokens.clear()
        self.paused, self.restarts, self.since = 0.0, restarts, now
        return found

"""An engine whose model is spread over two processes: its weights, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from sampler_rig import PARAMS, engine_settings, real_workers
from test_fleet_faults import gone, other_weights, until
from tiny_chat import WORDS, make_chat

from rlvr.learner.tiny import build_tiny_model
from rlvr.rollout.ray_worker import Seat, Watch
from rlvr.types import Problem

pytestmark = [pytest.mark.slow, pytest.mark.chaos]
VERSION = 7


def test_it_takes_weights_and_leaves_no_process_when_its_actor_is_killed(local_ray: None, tmp_path: Path) -> None:
    build_tiny_model(tmp_path / "model", words=WORDS, hidden_size=64, layers=1, heads=2, seed=0)
    path = str(tmp_path / "model")
    chat = make_chat(path)
    settings = replace(engine_settings(path, chat), tensor_parallel=2)
    seat = Seat(0, real_workers(settings), print, Watch())
    prompt = chat.prompt(Problem(id="1+2", question="1+2", answer="3")).token_ids

    below: list[psutil.Process] = []

    async def run() -> None:
        await seat.start()
        actor = int(seat.where.rpartition(" ")[2])
        below.extend(child for child in psutil.Process(actor).children(recursive=True) if "VLLM" in child.name())
        assert len(below) == 3  # the engine, and its workers
        weights = other_weights(path)
        await seat.load_weights(weights, VERSION)
        for one in await seat.sample(0, prompt, PARAMS):
            assert [span.policy_version for span in one.versions] == [VERSION]
            wanted = logprobs(path, weights, prompt, one.token_ids)
            assert one.sampler_logprobs == pytest.approx(wanted, abs=1e-4)
        os.kill(actor, signal.SIGKILL)
        await until(lambda: all(gone(child.pid) for child in below))

    try:
        asyncio.run(run())
    finally:
        seat.kill()
        for child in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def logprobs(path: str, weights: Any, prompt: tuple[int, ...], drawn: tuple[int, ...]) -> list[float]:
    """Log-probs of what was drawn, under the weights sent."""
    import ray
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    parts = [
        (name, torch.from_numpy(part.copy()).view(getattr(torch, kind)).reshape(shape))
        for manifest, raw in map(ray.get, weights.buckets)
        for (name, kind, shape), part in zip(manifest, raw, strict=True)
    ]
    model.load_state_dict(dict(parts))
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *drawn]])).logits[0, len(prompt) - 1 : -1] / PARAMS.temperature
    return [float(row[token]) for row, token in zip(logits.log_softmax(-1), drawn, strict=True)]

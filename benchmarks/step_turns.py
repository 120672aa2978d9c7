"""Programs that take turns at one machine: each waits for its line, does one step, and answers with its figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil


def environment(*, gpus: int) -> dict[str, str]:
    """Return what the programs find in their environment; processes that they start import from this folder."""
    here, path = str(Path(__file__).resolve().parent), os.environ.get("PYTHONPATH")
    common = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "WANDB_DISABLED": "true"}
    common["PYTHONPATH"] = here + (os.pathsep + path if path else "")
    return common if gpus else common | {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}


class Turns:
    """The side of a program that takes turns. What libraries print goes to stderr; answers alone go to stdout."""

    def __init__(self) -> None:
        self.answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def wait(self) -> dict[str, Any] | None:
        """Return what the turn brings, or None when there are no more."""
        line = sys.stdin.readline()
        return json.loads(line) if line.strip() else None

    def answer(self, **figures: Any) -> None:
        """End a turn."""
        self.answers.write(json.dumps(figures) + "\n")
        self.answers.flush()


class Player:
    """The other side: a started program."""

    def __init__(self, name: str, script: str, spec: dict[str, Any], log: Path) -> None:
        self.name, self.log = name, log
        with log.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name(script)), json.dumps(spec)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=os.environ | environment(gpus=spec["gpus"]),
            )
        self._read()  # it says when it is ready

    def turn(self, **brings: Any) -> dict[str, Any]:
        """Have it do one step; adds the wall time and the processor time of all its processes, in seconds."""
        assert self.process.stdin is not None
        cpu, began = self._cpu(), time.perf_counter()
        self.process.stdin.write(json.dumps(brings) + "\n")
        self.process.stdin.flush()
        found = self._read()
        return {"wall": time.perf_counter() - began, "cpu": self._cpu() - cpu, **found}

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended early; see {self.log}")
        found: dict[str, Any] = json.loads(line)
        return found

    def _cpu(self) -> float:
        total = 0.0
        own = psutil.Process(self.process.pid)
        for process in [own, *own.children(recursive=True)]:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return total

    def close(self) -> None:
        """End it, with whatever it started."""
        assert self.process.stdin is not None
        children = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for child in psutil.wait_procs(children, timeout=5)[1]:
            child.kill()

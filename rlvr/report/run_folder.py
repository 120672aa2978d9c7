"""The run folder: everything a run did, readable afterwards without running anything.

recipe.yaml  recipe.resolved.json  environment.json   what was asked, what that meant, what it ran on
metrics.jsonl                       one line a step: {"stage", "step", "time", metric: value, ...}
doctor.json                         the checks made before the first step
eval/<stage>-before.jsonl -after    one EvalRecord a line
rollouts/<stage>/step-000012.jsonl.zst   every completion of a step with its verdict
postmortem/<stage>/step-000012-1.jsonl.zst   figures and sequences of an optimizer step that was not finite
stages/<stage>/                     checkpoints/, model/, result.json (written last: the stage is done)
export/  report.html
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import zstandard

from rlvr.types import CreditedGroup, EvalRecord, TrainSequence


def write_atomic(path: Path, text: str) -> None:
    """Write `text` beside `path`, then rename: a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    with beside.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    beside.replace(path)


class RunFolder:
    """Paths and file formats of one run; also its `Tracker`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.metrics_path = root / "metrics.jsonl"

    def stage(self, name: str) -> Path:
        """Return the folder of a stage."""
        return self.root / "stages" / name

    def result(self, stage: str) -> dict[str, Any] | None:
        """Return what a finished stage wrote, or None while it is not finished."""
        path = self.stage(stage) / "result.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def document(self, name: str) -> Any:
        """Return a JSON file of the run's top folder (`doctor.json`, say), or None while it is not there."""
        path = self.root / name
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def stage_kinds(self) -> dict[str, str]:
        """Return the stages in the recipe's order with their kinds; without a recipe, those that left a trace."""
        recipe = self.document("recipe.resolved.json") or {}
        kinds = {name: str(stage.get("kind", name)) for name, stage in recipe.get("stages", {}).items()}
        seen = [str(row["stage"]) for row in self.metrics()]
        seen += sorted(path.name for path in (self.root / "stages").glob("*/"))
        return kinds | {name: name for name in seen if name not in kinds}

    def finish(self, stage: str, result: Mapping[str, object]) -> None:
        """Mark a stage as done with what later stages need to know of it."""
        write_atomic(self.stage(stage) / "result.json", json.dumps(dict(result), indent=1))

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Append one step's metrics and push them to the disk."""
        line = json.dumps({"stage": stage, "step": step, "time": round(time.time(), 3), **metrics})
        with self.metrics_path.open("a", encoding="utf-8") as handle:
            handle.write(line + "\n")
            handle.flush()
            os.fsync(handle.fileno())

    def metrics(self) -> list[dict[str, Any]]:
        """Return every logged step; a line cut short by a kill is left out."""
        if not self.metrics_path.exists():
            return []
        rows = []
        for line in self.metrics_path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:  # only the last line can be torn, by a kill during the write
                continue
        return rows

    def rewind(self, stage: str, step: int) -> None:
        """Forget metrics, rollouts and post-mortems of `stage` after `step`: a resumed run makes them again."""
        kept = [row for row in self.metrics() if row["stage"] != stage or row["step"] <= step]
        write_atomic(self.metrics_path, "".join(json.dumps(row) + "\n" for row in kept))
        for kind in ("rollouts", "postmortem"):
            for path in (self.root / kind / stage).glob("step-*.jsonl.zst"):
                if int(path.name.removesuffix(".jsonl.zst").split("-")[1]) > step:
                    path.unlink()

    def examined(self, stage: str) -> bool:
        """Whether the doctor has looked at the model of `stage`."""
        return any(row.get("stage") == stage for row in self.document("doctor.json") or [])

    def add_checks(self, stage: str, checks: Sequence[Mapping[str, object]]) -> None:
        """Add what the doctor found for the model of `stage` to doctor.json."""
        rows = [*(self.document("doctor.json") or []), *({"stage": stage, **check} for check in checks)]
        write_atomic(self.root / "doctor.json", json.dumps(rows, indent=1))

    def write_rollouts(self, stage: str, step: int, groups: Sequence[CreditedGroup]) -> None:
        """Keep every completion of a step with its verdict and advantage."""
        path = self.root / "rollouts" / stage / f"step-{step:06d}.jsonl.zst"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for group in groups for row in _rollout_rows(group))
        path.write_bytes(zstandard.compress(text.encode("utf-8", "backslashreplace")))  # JSON's own escape

    def write_postmortem(
        self, stage: str, step: int, sequences: Sequence[TrainSequence], metrics: Mapping[str, float]
    ) -> str:
        """Keep an optimizer step that was not finite: its figures, then a line a sequence; returns the file's path."""
        folder = self.root / "postmortem" / stage
        folder.mkdir(parents=True, exist_ok=True)
        number = len(list(folder.glob(f"step-{step:06d}-*"))) + 1
        path = folder / f"step-{step:06d}-{number}.jsonl.zst"
        rows = [dict(metrics), *(dataclasses.asdict(sequence) for sequence in sequences)]
        path.write_bytes(
            zstandard.compress("".join(json.dumps(row, default=bytes.hex) + "\n" for row in rows).encode())
        )
        return str(path)

    def rollouts(self, stage: str, step: int) -> list[dict[str, Any]]:
        """Return the completions of a step as they were written."""
        raw = (self.root / "rollouts" / stage / f"step-{step:06d}.jsonl.zst").read_bytes()
        return _json_lines(zstandard.decompress(raw).decode())

    def write_eval(self, name: str, records: Iterable[EvalRecord]) -> None:
        """Write the records of one evaluation, one JSON line a problem."""
        lines = (json.dumps(dataclasses.asdict(record), ensure_ascii=False) + "\n" for record in records)
        write_atomic(self.root / "eval" / f"{name}.jsonl", "".join(lines))

    def eval_names(self) -> list[str]:
        """Return the names of the evaluations made, in the order of the recipe's stages, before ahead of after.

        Those of no known stage come last, as they were written; a copied folder has lost its times, so they do not
        order the rest.
        """
        files = sorted((self.root / "eval").glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
        places = [stage + when for stage in self.stage_kinds() for when in ("-before", "-after", "")]
        return sorted(
            (path.stem for path in files), key=lambda name: places.index(name) if name in places else len(places)
        )

    def eval_records(self, name: str) -> list[EvalRecord]:
        """Return the records of one evaluation."""
        rows = _json_lines((self.root / "eval" / f"{name}.jsonl").read_text(encoding="utf-8"))
        return [_eval_record(row) for row in rows]


def _eval_record(row: dict[str, Any]) -> EvalRecord:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    return EvalRecord(**fields)


def _json_lines(text: str) -> list[dict[str, Any]]:
    # not splitlines(): it also splits at U+2028 and U+0085, which JSON leaves as they are inside a model's text
    return [json.loads(line) for line in text.split("\n") if line]


def _rollout_rows(credited: CreditedGroup) -> Iterable[dict[str, Any]]:
    group = credited.scored.group
    problem = group.prompt.problem
    rows = zip(group.completions, credited.scored.verdicts, credited.advantages, strict=True)
    for completion, verdict, advantage in rows:
        yield {
            "ticket": group.ticket,
            "problem_id": problem.id,
            "question": problem.question,
            "expected": problem.answer,
            "text": group.prompt.prefill + completion.text,
            "status": verdict.status,
            "reward": verdict.reward,
            "parts": dict(verdict.parts),
            "answer": verdict.answer,
            "detail": verdict.detail,
            "tokens": len(completion.token_ids),
            "finish": completion.finish,
            "versions": [(span.policy_version, span.start, span.end) for span in completion.versions],
            "advantage": advantage,
        }

import json
from dataclasses import replace
from pathlib import Path

import zstandard

from rlvr.report.run_folder import RunFolder
from rlvr.types import TrainSequence


def test_batches_of_a_step_are_kept_side_by_side_and_read_back(tmp_path: Path) -> None:
    sequence = TrainSequence(
        token_ids=(5, 6, 7), prompt_length=1, loss_weights=(0.5, 0.5), sampler_logprobs=(-1.0, -2.0), advantages=(1, 1)
    )
    sequence = replace(sequence, routed_experts=b"\0\xff")
    folder = RunFolder(tmp_path)
    paths = [Path(folder.write_postmortem("grpo", 12, [sequence], {"loss": loss})) for loss in (float("nan"), 2.0)]
    root = tmp_path / "postmortem" / "grpo"
    assert paths == [root / "step-000012-1.jsonl.zst", root / "step-000012-2.jsonl.zst"]
    first, second = (zstandard.decompress(path.read_bytes()).decode().splitlines() for path in paths)
    assert json.loads(first[0])["loss"] != json.loads(first[0])["loss"]
    assert json.loads(second[0]) == {"loss": 2.0}
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(first[1]).items()}
    fields["routed_experts"] = bytes.fromhex(fields["routed_experts"])
    assert TrainSequence(**fields) == sequence


def test_a_resumed_run_drops_rollouts_it_is_about_to_write_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for stage, step in (("grpo", 10), ("grpo", 11), ("grpo", 1000000), ("other", 12)):
        folder.write_rollouts(stage, step, [])
    folder.rewind("grpo", 10)
    kept = sorted(str(path.relative_to(tmp_path / "rollouts")) for path in tmp_path.rglob("*.zst"))
    assert kept == ["grpo/step-000010.jsonl.zst", "other/step-000012.jsonl.zst"]


def test_a_resumed_run_drops_those_it_is_about_to_write_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for stage, step in (("grpo", 10), ("grpo", 11), ("grpo", 11), ("grpo", 1000000), ("coldstart", 12)):
        folder.write_postmortem(stage, step, [], {})
    folder.rewind("grpo", 10)
    kept = sorted(str(path.relative_to(tmp_path / "postmortem")) for path in tmp_path.rglob("*.zst"))
    assert kept == ["coldstart/step-000012-1.jsonl.zst", "grpo/step-000010-1.jsonl.zst"]
    again = folder.write_postmortem("grpo", 11, [], {})
    assert again.endswith("step-000011-1.jsonl.zst")

"""Nothing that comes with a model is run: no pickles, no code, no question on the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_policy import read_policy, write_tiny

from rlvr.errors import ModelError


def test_weights_that_are_not_safetensors_are_refused(tmp_path: Path) -> None:
    folder = Path(write_tiny(tmp_path / "model"))
    torch.save(read_policy(str(folder)).model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="safetensors"):
        read_policy(str(folder))


def test_a_model_with_code_of_its_own_is_refused_without_running_it(tmp_path: Path) -> None:
    folder, trace = Path(write_tiny(tmp_path / "model")), tmp_path / "it ran"
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(trace)!r}, 'w')")
    with pytest.raises(ModelError, match="contains custom code"):
        read_policy(str(folder))
    assert not trace.exists()

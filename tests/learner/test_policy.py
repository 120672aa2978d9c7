"""Nothing that comes with a model is run: no pickles, no code, no question on the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_policy import read_policy, write_tiny

from rlvr.batch import collate
from rlvr.errors import ModelError
from rlvr.types import TrainSequence


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


def test_dropout_of_the_model_is_off_and_stays_in_its_config(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=2, n_positions=32)
    assert (config.attn_pdrop, config.embd_pdrop, config.resid_pdrop) == (0.1, 0.1, 0.1)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    policy = read_policy(str(tmp_path)).train()
    sequence = TrainSequence(token_ids=tuple(range(1, 21)), prompt_length=5, loss_weights=(1.0,) * 15)
    one, other = (policy(collate([sequence]), 1.0)[0] for _ in range(2))
    assert torch.equal(one, other)
    assert all(module.p == 0 for module in policy.modules() if isinstance(module, torch.nn.Dropout))
    assert json.loads((tmp_path / "config.json").read_text())["resid_pdrop"] == 0.1


@pytest.mark.parametrize("name", ["attention_dropout", "attn_pdrop", "layerdrop"])
def test_every_rate_of_dropout_is_found(tmp_path: Path, name: str) -> None:
    folder = Path(write_tiny(tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, name: 0.25}))
    assert getattr(read_policy(str(folder)).model.config, name) == 0.0

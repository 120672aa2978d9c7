import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_folder import CARD, tiny_tokenizer, write_stage_model
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from rlvr.errors import ModelError
from rlvr.export.folder import export_model

CHAT = [{"role": "user", "content": "3 + 4?"}]
FILES = {
    "README.md",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}
VLLM_GREEDY = """
import json, sys
from vllm import LLM, SamplingParams
llm = LLM(sys.argv[1], dtype="float32", max_model_len=64, enforce_eager=True, disable_log_stats=True)
params = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True)
prompt = {"prompt_token_ids": json.loads(sys.argv[2])}
tokens = list(llm.generate([prompt], params, use_tqdm=False)[0].outputs[0].token_ids)
defaults = llm.get_default_sampling_params()
print(json.dumps({"tokens": tokens, "temperature": defaults.temperature, "top_k": defaults.top_k}))
"""


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    return write_stage_model(tmp_path / "model")


def prompt_ids(folder: Path) -> list[int]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, tokenize=False)
    assert text == "<|im_start|>user\n3 + 4?<|im_end|>\n<|im_start|>assistant\n"
    return list(tokenizer.encode(text, add_special_tokens=False))


def greedy(folder: Path, prompt: list[int]) -> list[int]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    out = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=12, min_new_tokens=12)
    return list(out[0, len(prompt) :].tolist())


def test_code_that_comes_with_a_model_is_never_run(stage: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (stage / "tokenization_own.py").write_text(f"open({str(ran)!r}, 'w')\nclass OwnTokenizer: ...\n")
    path = stage / "tokenizer_config.json"
    own = {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": ["tokenization_own.OwnTokenizer", None]}}
    path.write_text(json.dumps(json.loads(path.read_text()) | own))
    out = export_model(model_folder=stage, out=tmp_path / "export", card=CARD)
    assert not ran.exists()
    assert {path.name for path in out.iterdir()} == FILES


def test_plain_transformers_loads_the_same_model(stage: Path, tmp_path: Path) -> None:
    out = tmp_path / "export"
    assert export_model(model_folder=stage, out=out, card=CARD) == out
    assert {path.name for path in out.iterdir()} == FILES
    ids = prompt_ids(out)
    assert ids == prompt_ids(stage)
    before = AutoModelForCausalLM.from_pretrained(stage).state_dict()
    after = AutoModelForCausalLM.from_pretrained(out).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert len(greedy(out, ids)) == 12


@pytest.mark.slow
def test_plain_vllm_draws_the_same_greedy_tokens(stage: Path, tmp_path: Path) -> None:
    out = export_model(model_folder=stage, out=tmp_path / "export", card=CARD)
    ids = prompt_ids(out)
    environment = {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "ERROR",
    }
    done = subprocess.run(
        [sys.executable, "-c", VLLM_GREEDY, str(out), json.dumps(ids)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["tokens"] == greedy(out, ids)
    assert found["temperature"] == 1.0
    assert found["top_k"] in (0, -1)


def test_every_end_of_turn_is_listed(tmp_path: Path) -> None:
    # The tokenizer says <|endoftext|> (0), the template closes with <|im_end|> (2), the old file adds id 4.
    stage = write_stage_model(tmp_path / "model", eos="<|endoftext|>")
    old = {"eos_token_id": [4, 0], "temperature": 0.7, "repetition_penalty": 1.1}
    (stage / "generation_config.json").write_text(json.dumps(old))
    out = export_model(model_folder=stage, out=tmp_path / "export", card=CARD)
    assert json.loads((out / "generation_config.json").read_text()) == {
        "eos_token_id": [0, 4, 2],
        "pad_token_id": 0,
        "do_sample": True,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
    }
    loaded = GenerationConfig.from_pretrained(out)
    loaded.validate(strict=True)
    assert loaded.eos_token_id == [0, 4, 2]


def test_one_end_of_turn_is_still_a_list(stage: Path, tmp_path: Path) -> None:
    out = export_model(model_folder=stage, out=tmp_path / "export", card=CARD)
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == [2]


def test_shards_travel_with_their_index_and_strays_do_not(tmp_path: Path) -> None:
    stage = write_stage_model(tmp_path / "model", shard="70KB")
    (stage / "optimizer.pt").write_bytes(b"x")
    (stage / "stray.safetensors").write_bytes(b"x")
    out = export_model(model_folder=stage, out=tmp_path / "export", card=CARD)
    shards = sorted(path.name for path in stage.glob("model-*.safetensors"))
    assert len(shards) > 1
    expected = FILES - {"model.safetensors"} | {*shards, "model.safetensors.index.json"}
    assert {path.name for path in out.iterdir()} == expected
    assert AutoModelForCausalLM.from_pretrained(out).config.hidden_size == 64


def test_a_new_export_replaces_the_old_one_whole(stage: Path, tmp_path: Path) -> None:
    out = tmp_path / "export"
    export_model(model_folder=stage, out=out, card=CARD)
    (out / "left.txt").write_text("old")
    export_model(model_folder=stage, out=out, card=dataclasses.replace(CARD, name="second"))
    assert {path.name for path in out.iterdir()} == FILES
    assert "# second" in (out / "README.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "model"]


def test_a_failed_export_leaves_the_old_one(stage: Path, tmp_path: Path) -> None:
    out = tmp_path / "export"
    export_model(model_folder=stage, out=out, card=CARD)
    old = {path.name: path.read_bytes() for path in out.iterdir()}
    (stage / "LICENSE").mkdir()  # fails midway, after the new folder was begun
    with pytest.raises(IsADirectoryError):
        export_model(model_folder=stage, out=out, card=dataclasses.replace(CARD, name="second"))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "model"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_export_is_never_replaced(stage: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "thesis"
    if kind == "folder":
        out.mkdir()
    precious = out / "chapter.txt" if kind == "folder" else out
    precious.write_text("years")
    with pytest.raises(ModelError, match="is no export"):
        export_model(model_folder=stage, out=out, card=CARD)
    assert precious.read_text() == "years"


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def drop_end_of_turn(folder: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": None}))
    (folder / "generation_config.json").unlink()


def shrink_vocab(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 100}))


def missing_shard(folder: Path) -> None:
    index = {"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def outside_shard(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../model/model.safetensors"}}')


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"config\.json: is missing"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json: is not JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), r"config\.json: holds a list"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "qwen2"}'), "no 'architectures'"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"model\.safetensors: is missing"),
        (cut_weights, r"model\.safetensors: is damaged"),
        (missing_shard, r"model-00001-of-00002\.safetensors: is missing"),
        (outside_shard, "is missing"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer does not load"),
        (lambda folder: (folder / "chat_template.jinja").unlink(), "has no chat template"),
        (lambda folder: (folder / "chat_template.jinja").write_text("{% for"), "its chat template fails"),
        (shrink_vocab, "tokens and the model 100"),
        (drop_end_of_turn, "names no end of turn"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_one_line(
    stage: Path, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(stage)
    with pytest.raises(ModelError, match=message) as caught:
        export_model(model_folder=stage, out=tmp_path / "export", card=CARD)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]

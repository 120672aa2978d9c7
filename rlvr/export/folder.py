"""A stage's model as one folder that plain transformers and vLLM load: checked, completed, written whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from rlvr.errors import ModelError
from rlvr.export.card import CardFacts, render_card
from rlvr.export.staging import staged_folder

INDEX = "model.safetensors.index.json"


def export_model(*, model_folder: Path, out: Path, card: CardFacts) -> Path:
    """Write the model of `model_folder` to `out` with tokenizer, chat template, generation config and card.

    An export already at `out` is replaced once the new one is complete. Raises ModelError where config, weights,
    tokenizer, chat template or end-of-turn token are missing or broken, or where `out` holds something else.
    """
    if out.exists() and not (out / "generation_config.json").is_file() and (out.is_file() or any(out.iterdir())):
        raise ModelError(f"{out}: is there already and is no export, so it is not replaced: choose another folder")
    config = _config(model_folder)
    weights = _weights(model_folder)
    tokenizer = _tokenizer(model_folder, config)
    generation = _generation_config(model_folder, config, tokenizer)
    with staged_folder(out.absolute()) as folder:
        for name in ("config.json", *weights, *(path.name for path in model_folder.glob("LICENSE*"))):
            shutil.copyfile(model_folder / name, folder / name)
        tokenizer.save_pretrained(folder)
        (folder / "chat_template.jinja").write_text(tokenizer.get_chat_template(), encoding="utf-8")
        (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
        (folder / "README.md").write_text(render_card(card), encoding="utf-8")
    return out


def end_of_turn_ids(model_folder: Path, config: dict[str, Any], tokenizer: Any) -> list[int]:
    """Return every id that ends a turn: the tokenizer's, the configs', and what the template writes after an answer."""
    ids = [tokenizer.eos_token_id, *_as_list(config.get("eos_token_id"))]
    path = model_folder / "generation_config.json"
    if path.is_file():
        ids += _as_list(_read_json(path).get("eos_token_id"))
    ids.append(_template_end(model_folder, tokenizer))
    return list(dict.fromkeys(token_id for token_id in ids if token_id is not None))


def _template_end(model_folder: Path, tokenizer: Any) -> int | None:
    """Return the special token the chat template closes the assistant's turn with, if it does."""
    from jinja2 import TemplateError

    answer = "42"
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False)
    except TemplateError as error:
        raise ModelError(f"{model_folder}: its chat template fails ({error}): mend chat_template.jinja") from error
    after = tokenizer.encode(text[text.rfind(answer) + len(answer) :], add_special_tokens=False)
    return after[0] if after and after[0] in tokenizer.all_special_ids else None


def _config(model_folder: Path) -> dict[str, Any]:
    path = model_folder / "config.json"
    if not path.is_file():
        raise ModelError(f"{path}: is missing: export a folder that a training stage or save_pretrained wrote")
    config = _read_json(path)
    for key in ("architectures", "model_type"):
        if not config.get(key):
            raise ModelError(f"{path}: has no {key!r}, which vLLM loads by: save the model with save_pretrained")
    return config


def _weights(model_folder: Path) -> tuple[str, ...]:
    """Return the names of the weight files, after checking that each is whole."""
    from safetensors import SafetensorError, safe_open

    if (model_folder / INDEX).is_file():
        shards = sorted(set(_read_json(model_folder / INDEX).get("weight_map", {}).values()))
        names = (*shards, INDEX)
    else:
        shards = ["model.safetensors"]
        names = ("model.safetensors",)
    for name in shards:
        if Path(name).name != name or not (model_folder / name).is_file():
            raise ModelError(f"{model_folder / name}: is missing: export a folder with safetensors weights")
        try:
            # Opening compares the header's extent with the file's size, so a cut-off file is found here.
            with safe_open(model_folder / name, framework="np"):
                pass
        except SafetensorError as error:
            raise ModelError(f"{model_folder / name}: is damaged ({error}): write the model again") from error
    return names


def _tokenizer(model_folder: Path, config: dict[str, Any]) -> Any:
    from transformers import AutoTokenizer

    if not any((model_folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise ModelError(f"{model_folder}: has no tokenizer: put the tokenizer files of its base model into it")
    try:
        tokenizer = AutoTokenizer.from_pretrained(model_folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # a damaged tokenizer file surfaces as whatever its parser raises
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{model_folder}: its tokenizer does not load ({reason}): copy the base model's") from error
    if not tokenizer.chat_template:
        raise ModelError(f"{model_folder}: its tokenizer has no chat template: add chat_template.jinja")
    vocab_size = config.get("vocab_size")
    if vocab_size is not None and len(tokenizer) > vocab_size:
        raise ModelError(
            f"{model_folder}: the tokenizer has {len(tokenizer)} tokens and the model {vocab_size}: they do not belong"
            " together, copy the base model's tokenizer"
        )
    return tokenizer


def _generation_config(model_folder: Path, config: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    """Return the ends of turn and the plain distribution the policy was trained and measured in.

    A base model's own penalties and cut-offs are left out: they would shape what training never saw.
    """
    ends = end_of_turn_ids(model_folder, config, tokenizer)
    if not ends:
        raise ModelError(f"{model_folder}: names no end of turn: set eos_token_id in its generation_config.json")
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    generation: dict[str, Any] = {"eos_token_id": ends, "pad_token_id": pad}
    if tokenizer.bos_token_id is not None:
        generation["bos_token_id"] = tokenizer.bos_token_id
    return {**generation, "do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0}


def _as_list(ids: Any) -> list[int]:
    return ids if isinstance(ids, list) else [] if ids is None else [ids]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: is not JSON ({error}): write the model again") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path}: holds a {type(found).__name__}, not a JSON object: write the model again")
    return found

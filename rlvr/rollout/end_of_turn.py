"""Which token ids end a turn, as a model's own files say (transformers)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rlvr.errors import ModelError


def end_of_turn_ids(path: str, tokenizer: Any) -> list[int]:
    """Return the tokenizer's end-of-text id, then those of the model's configuration files."""
    ids: list[int] = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    for name in ("generation_config.json", "config.json"):
        file = Path(path) / name
        if not file.is_file():
            file = _from_hub(path, name) or file
        if file.is_file():
            ids.extend(_ids_in(file))
    return ids


def _ids_in(file: Path) -> list[int]:
    try:
        found = dict(json.loads(file.read_text(encoding="utf-8"))).get("eos_token_id")
    except (ValueError, TypeError) as error:
        raise ModelError(f"{file}: is no JSON object ({error}); mend it") from error
    ids = found if isinstance(found, list) else [] if found is None else [found]
    if not all(isinstance(one, int) for one in ids):
        raise ModelError(f"{file}: eos_token_id {found!r} must be a number or a list of numbers")
    return ids


def _from_hub(path: str, name: str) -> Path | None:
    from transformers.utils import cached_file

    if Path(path).exists():
        return None
    found = cached_file(path, name, _raise_exceptions_for_missing_entries=False)
    return Path(found) if found else None

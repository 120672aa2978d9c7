"""A tiny model folder and chats over it."""

from __future__ import annotations

from pathlib import Path

from rlvr.learner.tiny import build_tiny_model
from rlvr.rollout.chat import Chat

WORDS = [*(str(number) for number in range(30)), "+", "=", r"\boxed{", "}"]


def write_tiny(folder: Path) -> str:
    build_tiny_model(folder, words=WORDS, hidden_size=32, layers=1, heads=1, seed=0)
    return str(folder)


def make_chat(
    path: str, *, system: str | None = None, instruction: str = "", template: Path | str | None = None
) -> Chat:
    return Chat(path, system=system, instruction=instruction, template=None if template is None else str(template))

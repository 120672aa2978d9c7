"""Problem to prompt and tokens to text, through the tokenizer's chat template (transformers)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlvr.errors import ModelError
from rlvr.types import Problem, Prompt, TrainSequence

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"


class Chat:
    """Renders prompts and traces with one tokenizer and template."""

    def __init__(self, path: str, *, system: str | None, instruction: str, template: str | None) -> None:
        from transformers import AutoTokenizer

        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(f"model {path!r} has no usable tokenizer: {reason}; add tokenizer files to it") from error
        # Where the files are missing, transformers makes up a tokenizer without words for some architectures.
        if not set(self.tokenizer.encode("1 + 1", add_special_tokens=False)) - set(self.tokenizer.all_special_ids):
            raise ModelError(f"model {path!r} has no usable tokenizer: it knows no words; add tokenizer files to it")
        if template is not None:
            self.tokenizer.chat_template = Path(template).read_text(encoding="utf-8")
        if not self.tokenizer.chat_template:
            raise ModelError(f"model {path!r} has no chat template; name a file in chat.template")
        self.system, self.instruction = system, instruction
        self.eos_ids = _eos_ids(path, self.tokenizer)

    def messages(self, problem: Problem) -> list[dict[str, str]]:
        """Return the conversation up to the assistant's turn."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": problem.question + self.instruction}]

    def prompt(self, problem: Problem) -> Prompt:
        """Render a problem; notices where the template already opens the thinking."""
        text = self.tokenizer.apply_chat_template(self.messages(problem), add_generation_prompt=True, tokenize=False)
        token_ids = self.tokenizer.encode(text, add_special_tokens=False)
        opened = text.rfind(THINK_OPEN)
        inside = opened >= 0 and not text[opened + len(THINK_OPEN) :].strip()
        return Prompt(problem=problem, token_ids=tuple(token_ids), prefill=text[opened:] if inside else "")

    def refuse_lost_thinking(self) -> None:
        """Raise ModelError where the template drops `<think>` from an assistant's turn: traces would lose it too."""
        turn = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "<think>1</think>2"}]
        if THINK_OPEN not in str(self.tokenizer.apply_chat_template(turn, tokenize=False)):
            raise ModelError(
                f"chat template of {self.tokenizer.name_or_path!r} drops <think> from the assistant's turn; "
                "set chat.template to one that keeps it"
            )

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of a completion, without its closing end-of-turn token."""
        ids = list(token_ids)
        if ids and ids[-1] in self.eos_ids:
            ids.pop()
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def thinking_tokens(self, text: str) -> int:
        """Return how many tokens the tokenizer makes of what stands inside the thinking tags."""
        thinking = text.partition(THINK_OPEN)[2].partition(THINK_CLOSE)[0].strip()
        return len(self.tokenizer.encode(thinking, add_special_tokens=False)) if thinking else 0

    def trace(self, prompt: Prompt, text: str) -> TrainSequence:
        """Return prompt plus `text` plus end of turn as a sequence to imitate; each target token weighs 1.

        Encoded apart from the prompt, so that the boundary is the one sampling has.
        """
        written = text.removeprefix(prompt.prefill.strip()).lstrip() if prompt.prefill else text
        body = self.tokenizer.encode(written, add_special_tokens=False)
        target = [*body, self.eos_ids[0]]
        return TrainSequence(
            token_ids=(*prompt.token_ids, *target),
            prompt_length=len(prompt.token_ids),
            loss_weights=(1.0,) * len(target),
        )


def _eos_ids(path: str, tokenizer: Any) -> tuple[int, ...]:
    """Return every end-of-turn id: the tokenizer's own first, then those of the model's configuration files."""
    ids: list[int] = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    for name in ("generation_config.json", "config.json"):
        file = Path(path) / name
        if not file.is_file():
            file = _from_hub(path, name) or file
        if file.is_file():
            found = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id")
            ids.extend(found if isinstance(found, list) else [found] if found is not None else [])
    if not ids:
        raise ModelError(f"model {path!r} names no eos_token_id; set it in its generation_config.json")
    return tuple(dict.fromkeys(ids))


def _from_hub(path: str, name: str) -> Path | None:
    from transformers.utils import cached_file

    if Path(path).exists():
        return None
    found = cached_file(path, name, _raise_exceptions_for_missing_entries=False)
    return Path(found) if found else None

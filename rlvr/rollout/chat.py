"""Problem to prompt and tokens to text, through the tokenizer's chat template (transformers)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlvr.errors import ModelError
from rlvr.rollout.end_of_turn import end_of_turn_ids
from rlvr.types import Problem, Prompt, TrainSequence

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"


class Chat:
    """Renders prompts and traces with one tokenizer and template."""

    def __init__(self, path: str, *, system: str | None, instruction: str, template: str | None) -> None:
        from transformers import AutoTokenizer

        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(f"model {path!r} has no usable tokenizer: {reason}; add tokenizer files to it") from error
        # Where the files are missing, transformers makes up a tokenizer without words for some architectures.
        if not set(self.tokenizer.encode("1 + 1", add_special_tokens=False)) - set(self.tokenizer.all_special_ids):
            raise ModelError(f"model {path!r} has no usable tokenizer: it knows no words; add tokenizer files to it")
        if template is not None:
            self.tokenizer.chat_template = read_template(template)
        if not self.tokenizer.chat_template:
            raise ModelError(f"model {path!r} has no chat template; name a file in chat.template")
        self.system, self.instruction = system, instruction
        self.eos_ids = tuple(dict.fromkeys([*self._closing(), *end_of_turn_ids(path, self.tokenizer)]))
        if not self.eos_ids:
            raise ModelError(f"model {path!r} names no eos_token_id; set it in its generation_config.json")

    def messages(self, problem: Problem) -> list[dict[str, str]]:
        """Return the conversation up to the assistant's turn; the recipe's system message goes before the problem's."""
        told = self.system or problem.system
        system = [{"role": "system", "content": told}] if told else []
        return [*system, {"role": "user", "content": problem.question + self.instruction}]

    def render(self, messages: list[dict[str, str]], *, open_turn: bool) -> str:
        """Return the conversation as text; raises ModelError where the template refuses it."""
        from jinja2 import TemplateError

        try:
            return str(self.tokenizer.apply_chat_template(messages, add_generation_prompt=open_turn, tokenize=False))
        except TemplateError as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(
                f"chat template of {self.tokenizer.name_or_path!r} fails on a conversation "
                f"{[message['role'] for message in messages]}: {reason}; mend it, or set chat.template or chat.system"
            ) from error

    def _closing(self) -> list[int]:
        """Return the special token the template closes the assistant's turn with, if it does."""
        answer = "42"
        text = self.render(
            [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}], open_turn=False
        )
        after = self.tokenizer.encode(text[text.rfind(answer) + len(answer) :], add_special_tokens=False)
        return after[:1] if after and after[0] in self.tokenizer.all_special_ids else []

    def prompt(self, problem: Problem) -> Prompt:
        """Render a problem; notices where the template already opens the thinking."""
        text = self.render(self.messages(problem), open_turn=True)
        token_ids = self.tokenizer.encode(text, add_special_tokens=False)
        opened = text.rfind(THINK_OPEN)
        inside = opened >= 0 and not text[opened + len(THINK_OPEN) :].strip()
        return Prompt(problem=problem, token_ids=tuple(token_ids), prefill=text[opened:] if inside else "")

    def refuse_lost_thinking(self) -> None:
        """Raise ModelError where the template drops `<think>` from an assistant's turn: traces would lose it too."""
        turn = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "<think>1</think>2"}]
        if THINK_OPEN not in self.render(turn, open_turn=False):
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


def read_template(path: str) -> str:
    """Return a chat template file; raises ModelError where it is not text."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"chat.template: {path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error

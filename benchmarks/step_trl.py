"""TRL's GRPOTrainer, one step a turn."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from typing import Any, ClassVar

from datasets import Dataset
from step_model import problems, read_spec, rewards
from step_turns import Turns
from transformers import AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

SPEC = read_spec(sys.argv[1])
ASKED = problems()
TURNS = Turns()


class Gate(TrainerCallback):  # type: ignore[misc]
    """Holds the trainer before every step until it is its turn."""

    lengths: ClassVar[list[int]] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Wait for the turn."""
        if state.global_step == 0:
            TURNS.answer(ready=True)
        if TURNS.wait() is None:
            os._exit(0)
        self.began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Answer."""
        TURNS.answer(seconds=time.perf_counter() - self.began, lengths=Gate.lengths)


def judge(completions: list[Any], completion_ids: list[list[int]], **_: Any) -> list[float]:
    """Return the rewards of the completions, in TRL's form."""
    Gate.lengths = [len(ids) for ids in completion_ids]
    return rewards(completions)


def main() -> None:
    """Train until no turn comes."""
    rows, group = SPEC["prompts"] * SPEC["group"], SPEC["group"]
    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        use_cpu=not SPEC["gpus"],
        bf16=False,
        per_device_train_batch_size=SPEC["trl_rows"],
        gradient_accumulation_steps=rows // SPEC["trl_rows"],
        num_generations=group,
        max_completion_length=SPEC["tokens"],
        max_steps=10_000,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        beta=0.0,
        temperature=1.0,
        gradient_checkpointing=False,
        model_init_kwargs={"dtype": SPEC["dtype"]},
        learning_rate=SPEC["learning_rate"],
        lr_scheduler_type="constant",
    )
    data = Dataset.from_list([{"prompt": [{"role": "user", "content": problem.question}]} for problem in ASKED])
    trainer = GRPOTrainer(
        model=SPEC["model"],
        reward_funcs=judge,
        args=config,
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(SPEC["model"], padding_side="left"),
        callbacks=[Gate()],
    )
    trainer.train()


main()

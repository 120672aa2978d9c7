"""The parts of a step, bare: a vLLM engine, or transformers' forward and backward with AdamW; one step a turn."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from step_model import problems, read_spec
from step_turns import Turns

SPEC = read_spec(sys.argv[1])


def engine(turns: Turns) -> None:
    """Sample a step's completions and answer with their tokens."""
    os.environ.update(VLLM_LOGGING_LEVEL="ERROR", VLLM_NO_USAGE_STATS="1", VLLM_ENABLE_V1_MULTIPROCESSING="0")
    if not SPEC["gpus"]:
        os.environ.update(VLLM_CPU_OMP_THREADS_BIND="nobind", OMP_NUM_THREADS=str(SPEC["threads"]))
    from vllm import LLM, SamplingParams

    from rlvr.rollout.chat import Chat

    chat = Chat(SPEC["model"], system=None, instruction="", template=None)
    prompts = [{"prompt_token_ids": list(chat.prompt(problem).token_ids)} for problem in problems()]
    llm = LLM(
        model=SPEC["model"],
        dtype=SPEC["dtype"],
        max_model_len=SPEC["context"],
        max_num_seqs=SPEC["prompts"] * SPEC["group"],
        kv_cache_memory_bytes=SPEC["kv_cache"],
        enforce_eager=not SPEC["compile"],
        enable_chunked_prefill=False,
        max_num_batched_tokens=max(4096, SPEC["context"]),
        generation_config="vllm",
        skip_tokenizer_init=True,
    )
    params = SamplingParams(
        n=SPEC["group"], max_tokens=SPEC["tokens"], logprobs=0, stop_token_ids=list(chat.eos_ids), detokenize=False
    )
    turns.answer(ready=True)
    step = 0
    while turns.wait() is not None:
        chosen = [prompts[(step * SPEC["prompts"] + i) % len(prompts)] for i in range(SPEC["prompts"])]
        began = time.perf_counter()
        outputs = llm.generate(chosen, params, use_tqdm=False)
        rows = [(list(o.prompt_token_ids), list(one.token_ids)) for o in outputs for one in o.outputs]
        turns.answer(seconds=time.perf_counter() - began, rows=rows, lengths=[len(row[1]) for row in rows])
        step += 1


def learner(turns: Turns) -> None:
    """Take one step on the rows a turn brings: forward and backward, micro-batch by micro-batch, then AdamW.

    Rows are padded to the longest of their micro-batch; the loss is the weighted log-probability of every completion's
    tokens.
    """
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(SPEC["threads"])
    device = "cuda" if SPEC["gpus"] else "cpu"
    model = AutoModelForCausalLM.from_pretrained(SPEC["model"], dtype=getattr(torch, SPEC["dtype"])).to(device)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=SPEC["learning_rate"], fused=True)

    def backward(rows: list[Any], total: int) -> None:
        longest = max(len(prompt) + len(completion) for prompt, completion in rows)
        ids = torch.zeros((len(rows), longest), dtype=torch.int64)
        weights = torch.zeros((len(rows), longest))
        for index, (prompt, completion) in enumerate(rows):
            ids[index, : len(prompt) + len(completion)] = torch.tensor(prompt + completion)
            weights[index, len(prompt) : len(prompt) + len(completion)] = (index % 3 - 1) / total
        ids, weights = ids.to(device), weights.to(device)
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
        logprobs = torch.log_softmax(logits, -1).gather(-1, ids[:, 1:, None]).squeeze(-1)
        (-(logprobs * weights[:, 1:]).sum()).backward()

    turns.answer(ready=True)
    while (brought := turns.wait()) is not None:
        rows = brought["rows"]
        began = time.perf_counter()
        total = sum(len(completion) for _, completion in rows)
        for first in range(0, len(rows), SPEC["bare_rows"]):
            backward(rows[first : first + SPEC["bare_rows"]], total)
        if SPEC["gpus"]:
            torch.cuda.synchronize()
        learned = time.perf_counter()
        optimizer.step()
        optimizer.zero_grad()
        if SPEC["gpus"]:
            torch.cuda.synchronize()
        tokens = sum(len(prompt) + len(completion) for prompt, completion in rows)
        turns.answer(seconds=time.perf_counter() - began, backward=learned - began, tokens=tokens)


{"engine": engine, "learner": learner}[SPEC["part"]](Turns())

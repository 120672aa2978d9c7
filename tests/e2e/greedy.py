"""Print greedy tokens of a model folder as JSON: `greedy.py transformers|vllm FOLDER`. Knows nothing of rlvr."""

import json
import os
import sys

os.environ.update(HF_HUB_OFFLINE="1", VLLM_LOGGING_LEVEL="ERROR", VLLM_CPU_KVCACHE_SPACE="1", OMP_NUM_THREADS="1")
os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
TOKENS = 20
QUESTIONS = ["Start with 3. Add 5. Modulo 11?", "Start with 7. Multiply by 2. Subtract 9. Modulo 11?"]


def with_transformers(folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    rows = []
    for question in QUESTIONS:
        chat = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        output = model.generate(**prompt, max_new_tokens=TOKENS, do_sample=False)
        rows.append(output[0, prompt["input_ids"].shape[1] :].tolist())
    return rows


def with_vllm(folder):
    from vllm import LLM, SamplingParams

    engine = LLM(folder, enforce_eager=True, max_model_len=128)
    chats = [[{"role": "user", "content": question}] for question in QUESTIONS]
    outputs = engine.chat(chats, SamplingParams(temperature=0, max_tokens=TOKENS), use_tqdm=False)
    return [list(output.outputs[0].token_ids) for output in outputs]


if __name__ == "__main__":
    found = {"transformers": with_transformers, "vllm": with_vllm}[sys.argv[1]](sys.argv[2])
    print(json.dumps(found), flush=True)

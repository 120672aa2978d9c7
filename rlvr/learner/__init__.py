"""Gradients, shared by grpo and distill: DeepSpeed, micro-batches, chunked log-probs, checkpoints."""

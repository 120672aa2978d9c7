"""rlvr turns a language model into a reasoning model: sample groups, verify, apply GRPO, distil, export."""

__version__ = "0.1.0"

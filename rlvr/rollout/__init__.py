"""A policy's tokens: chat format, vLLM engines, the Ray fleet, weight updates."""

"""One folder that transformers and vLLM load, its model card, the hub, and fetching models."""

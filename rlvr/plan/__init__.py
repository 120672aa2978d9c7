"""`rlvr plan`: placement, batches and memory from a recipe and a model's config alone; no GPU, no weights, no torch."""

# Each target does its own set-up; a second run installs nothing.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
# The set-up installs the GPU stack where it finds a GPU; engine and learner then share the first one.
ON_GPU := $(shell nvidia-smi -L >/dev/null 2>&1 && echo cluster.gpus_per_node=1 engine.workers=1)
# One thread a process: processes that share cores are many times slower with more.
export OMP_NUM_THREADS := 1

.PHONY: help setup quickstart lint test test-fast test-chaos

help: ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## create .venv and install everything (CPU stack, or GPU where one is found)
	@scripts/setup.sh

quickstart: setup ## cold start, GRPO, distillation, evaluation and export on CPU, in minutes
	@$(BIN)/rlvr run recipes/quickstart.yaml $(ON_GPU)

lint: setup ## lint, formatting, types, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

test: lint ## lint, then every test that needs no GPU, but for those of test-chaos
	@$(BIN)/pytest -m "not gpu and not chaos"

test-chaos: lint ## lint, then the tests that kill, stop and lose more processes and nodes
	@$(BIN)/pytest -m chaos

test-fast: lint ## lint, then the tests that start no Ray, vLLM or DeepSpeed
	@$(BIN)/pytest -m "not slow and not gpu"

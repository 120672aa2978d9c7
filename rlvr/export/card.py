"""The model card: what was trained from what, how it measures, and the recipe that repeats it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRow:
    """One measurement on the held-out problems: pass@1 with its 95% interval, and pass@k and maj@k over `samples`."""

    label: str
    problems: int
    samples: int
    pass_at_1: float
    low: float
    high: float
    pass_at_k: float
    maj_at_k: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What a card tells. `base_model` is a hub name, or None where nothing published was the start.

    `stages` are (name, seconds) in order; the last of `evals` measures the exported model on `heldout`.
    """

    name: str
    base_model: str | None
    license: str | None
    stages: tuple[tuple[str, float], ...]
    heldout: str
    evals: tuple[EvalRow, ...]
    recipe: str
    rlvr_version: str


def render_card(facts: CardFacts) -> str:
    """Return README.md with its YAML front matter; every outside text in it is escaped."""
    parts = [
        f"---\n{_front_matter(facts)}\n---",
        f"# {inline(facts.name)}",
        f"A reasoning model made with rlvr {inline(facts.rlvr_version)} from {_start(facts)}: completions are"
        " sampled, programs check their answers, and the verdicts train.",
        "## Results",
        f"Held-out problems ({inline(facts.heldout)}), none trained on, sampled as the recipe's `eval` says.",
        _table(
            ("model", "pass@1", "95% interval", "pass@k", "maj@k", "problems", "k"),
            [_eval_cells(row) for row in facts.evals],
        ),
        "## Use",
        _USE,
        "The chat template and every end-of-turn token are in this folder; put the recipe's `chat` texts around the"
        " question as training did. Written with transformers 5.",
        "## Training",
        _table(("stage", "time"), [(inline(name), duration(seconds)) for name, seconds in facts.stages]),
        "The recipe, in full:",
        fenced(facts.recipe, "yaml"),
        "## Limits",
        "It was trained and measured on problems of this one kind. Elsewhere it may be worse than the model it came"
        " from, and it states wrong answers as firmly as right ones.",
    ]
    return "\n\n".join(parts) + "\n"


def origin(path: str) -> tuple[str | None, str | None]:
    """Return (base model, license) of what a recipe starts from: a hub name, or a folder whose README.md names them."""
    from huggingface_hub import ModelCard

    folder = Path(path)
    if not folder.exists():
        return path, None
    readme = folder / "README.md"
    data = ModelCard.load(readme).data if readme.is_file() else None
    base = data.base_model if data else None
    return (base if isinstance(base, str) else None), (data.license if data else None)


def inline(text: str) -> str:
    """Return `text` as one line of Markdown that shows exactly it: no markup, HTML, table cell or control code."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~$@:])", r"\\\1", line)


def fenced(text: str, language: str) -> str:
    """Return `text` as a code block whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    clean = "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)
    return f"{fence}{language}\n{clean.rstrip()}\n{fence}"


def duration(seconds: float) -> str:
    """Return seconds as "42 s", "3 min 05 s" or "2 h 07 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


_USE = fenced(
    """from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # this folder, or the name of the repository it was pushed to
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
chat = [{"role": "user", "content": "..."}]
inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
completion = model.generate(**inputs, max_new_tokens=512)[0, inputs["input_ids"].shape[1] :]
print(tokenizer.decode(completion))""",
    "python",
)


def _front_matter(facts: CardFacts) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type="held-out",
            dataset_name=facts.heldout,
            metric_type="pass@1",
            metric_value=round(row.pass_at_1, 4),
        )
        for row in facts.evals[-1:]
        if math.isfinite(row.pass_at_1)
    ]
    data = ModelCardData(
        model_name=facts.name if results else None,
        base_model=facts.base_model,
        license=facts.license,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["rlvr", "reasoning", "reinforcement-learning"],
        eval_results=results or None,
    )
    return str(data.to_yaml()).strip()


def _start(facts: CardFacts) -> str:
    return inline(facts.base_model) if facts.base_model else "a model of its own"


def _eval_cells(row: EvalRow) -> tuple[str, ...]:
    low_high = f"{_share(row.low)} to {_share(row.high)}"
    figures = (_share(row.pass_at_1), low_high, _share(row.pass_at_k), _share(row.maj_at_k))
    return (inline(row.label), *figures, str(row.problems), str(row.samples))


def _share(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "none"


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return "None were recorded."
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)

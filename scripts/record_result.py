"""Copy what a finished run came to into a results folder: `record_result.py RUN FOLDER`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from rlvr.report.escape import visible
from rlvr.report.outcome import evaluations, pair, summary_lines, with_interval
from rlvr.report.plots import write_plot
from rlvr.report.run_folder import RunFolder

COPIED = ("recipe.yaml", "recipe.resolved.json", "environment.json", "metrics.jsonl", "doctor.json")
SAMPLES = 12


def figures(folder: RunFolder) -> str:
    """Return every evaluation and every stage's wall time as Markdown tables."""
    lines = ["| evaluation | pass@1 | pass@k | maj@k | k | problems | tokens | thinking tokens | truncated |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for made in evaluations(folder):
        one = made.summary
        shares = " | ".join(with_interval(share) for share in (one.pass_at_1, one.pass_at_k, one.maj_at_k))
        lengths = f"{one.completion_tokens:.1f} | {one.thinking_tokens:.1f} | {one.truncated_share:.1%}"
        lines.append(f"| {made.name} | {shares} | {one.samples} | {one.problems} | {lengths} |")
    lines += ["", "| stage | seconds |", "| --- | --- |"]
    lines += [f"| {stage} | {(folder.result(stage) or {}).get('seconds', '')} |" for stage in folder.stage_kinds()]
    return "\n".join(lines) + "\n"


def samples(folder: RunFolder) -> str:
    """Return the first sample of the first problems before and after each stage, as the model wrote them."""
    lines = []
    for stage in folder.stage_kinds():
        both = pair(evaluations(folder), stage)
        if both is None:
            continue
        lines += [f"## {stage}", ""]
        for before, after in list(zip(both[0].records, both[1].records, strict=True))[:SAMPLES]:
            lines += [f"    {visible(before.question)}  (expected {visible(before.expected)})"]
            for name, record in (("before", before), ("after ", after)):
                text = visible(record.texts[0]).replace("\n", "\n            ")
                lines.append(f"    {name}  {record.statuses[0]:9}  {text}")
            lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Write the folder."""
    run, out = RunFolder(Path(sys.argv[1])), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        shutil.copyfile(run.root / name, out / name)
    (out / "figures.md").write_text(figures(run), encoding="utf-8")
    (out / "samples.md").write_text(samples(run), encoding="utf-8")
    write_plot(run, out / "curves.png")
    print("\n".join(summary_lines(run)))


if __name__ == "__main__":
    main()

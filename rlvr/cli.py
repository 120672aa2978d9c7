"""The `rlvr` command. Nothing heavy is imported to parse: each verb imports what it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from rlvr.errors import DoctorFailed, InvalidVerdicts, ProcessLost, Stopped, UserError

if TYPE_CHECKING:
    from rlvr.recipe_file import LoadedRecipe


class _Verbs(TyperGroup):
    """The verbs, with an interrupt as exit code 130 (typer's own is 1, which here means a failed check)."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(_fail("interrupted; the same command goes on from the last checkpoint", 130)) from None


app = typer.Typer(
    cls=_Verbs,
    help="Turn a language model into a reasoning model: rollouts, verifiable rewards, GRPO, distillation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe file, such as recipes/quickstart.yaml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY.PATH=VALUE", help="Values that replace the recipe's.", show_default=False),
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, such as runs/quickstart.")]
RunsDir = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder that holds run folders.")]


@app.command()
def run(recipe: RecipePath, overrides: Overrides = None, out: RunsDir = Path("runs")) -> None:
    """Run a recipe's stages, or go on where an earlier launch of it stopped."""
    loaded = _load(recipe, overrides)
    from rlvr.pipeline import run as run_stages

    run_stages(loaded, out)


@app.command()
def plan(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Show placement, batches and memory, and whether it fits; needs no GPU and no weights."""
    loaded = _load(recipe, overrides)
    from rlvr.plan.make import make_plan
    from rlvr.plan.view import show_plan

    made = make_plan(loaded.recipe)
    show_plan(made)
    raise typer.Exit(0 if made.fits else 1)


@app.command()
def doctor(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Check template, parsing, verification, tokens and log-probs with the real engine and learner."""
    loaded = _load(recipe, overrides)
    from rlvr.doctor import run_doctor

    raise typer.Exit(0 if run_doctor(loaded) else 1)


@app.command("eval")
def evaluate(
    recipe: RecipePath,
    model: Annotated[str, typer.Option("--model", metavar="PATH", help="Model folder or hub name to measure.")],
    overrides: Overrides = None,
) -> None:
    """Measure a model on a recipe's held-out problems."""
    loaded = _load(recipe, overrides)
    from rlvr.pipeline import evaluate as measure

    measure(loaded, model)


@app.command()
def verify(
    file: Annotated[Path, typer.Option("--file", metavar="FILE", help="Completions to judge, one JSON object a line.")],
    overrides: Overrides = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", metavar="RECIPE", help="Judge by this recipe's rewards.")
    ] = None,
    question: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of the question.")] = None,
    answer: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of the right answer.")] = None,
    completion: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of the completion or list.")] = None,
    prefill: Annotated[
        str, typer.Option(metavar="TEXT", help="What the chat template wrote before each completion, such as <think>.")
    ] = "",
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write every verdict here.")] = None,
) -> None:
    """Judge a file of completions and print the verdicts; without a recipe thinking is optional."""
    from rlvr.data.completions import RowColumns
    from rlvr.verify import read_settings, verify_file

    columns = RowColumns(question=question, answer=answer, completion=completion)
    verify_file(file, read_settings(recipe, overrides or ()), columns, prefill=prefill, out=out)


@app.command()
def export(
    run: RunPath,
    of: Annotated[
        str | None, typer.Option("--of", metavar="STAGE", help="Stage to export; the newest if none.")
    ] = None,
    push: Annotated[str | None, typer.Option("--push", metavar="ORG/NAME", help="Hub repository to upload to.")] = None,
) -> None:
    """Write one folder that transformers and vLLM load, and upload it with --push."""
    folder = _existing(run)
    from rlvr.pipeline import export_run

    export_run(folder, of, push)


@app.command()
def report(run: RunPath) -> None:
    """Write report.html of a run, finished or not, and print where it is."""
    folder = _existing(run)
    from rlvr.report.html import write_report
    from rlvr.report.run_folder import RunFolder

    typer.echo(write_report(RunFolder(folder)))


@app.command()
def fetch(name: Annotated[str, typer.Argument(metavar="NAME", help="Model to bring, such as smollm2-135m.")]) -> None:
    """Bring a small model and convert it, and print its folder."""
    from rlvr.export.fetch import fetch as bring

    typer.echo(bring(name))


def _load(recipe: Path, overrides: list[str] | None) -> LoadedRecipe:
    from rlvr.recipe_file import load_recipe

    return load_recipe(recipe, overrides or ())


def _existing(run: Path) -> Path:
    if not (run / "recipe.yaml").is_file():
        raise UserError(f"{run}: no run folder (it has no recipe.yaml); give one such as runs/quickstart")
    return run


QUIET = {  # libraries write no progress and notices between the run's own lines
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def main() -> None:
    """Run the command line; exits 0 done or stopped, 1 a check or a process failed, 2 bad input, 130 interrupted."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        app(prog_name="rlvr")
    except UserError as error:
        sys.exit(_fail(_told(error), 2))
    except (DoctorFailed, InvalidVerdicts) as error:
        sys.exit(_fail(_told(error), 1))
    except ProcessLost as error:
        sys.exit(_fail(f"{_told(error)}; the same command goes on from the last checkpoint", 1))
    except Stopped as error:
        from rlvr.report.escape import visible

        print(visible(f"{error}; the same command goes on"))


def _told(error: BaseException) -> str:
    """The error's own message: what an actor raised comes wrapped in Ray's whole traceback, as its `cause`."""
    while isinstance(cause := getattr(error, "cause", None), BaseException):
        error = cause
    return str(error)


def _fail(message: str, code: int) -> int:
    from rlvr.report.escape import visible

    for line in visible(message).splitlines():
        print(f"error: {line}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()

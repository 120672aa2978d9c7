"""The command line: exit codes, one-line errors, nothing heavy imported to parse."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rlvr.cli import app, main
from rlvr.errors import DataError, DoctorFailed, InvalidVerdicts

RECIPE = str(Path(__file__).parent.parent / "recipes" / "quickstart.yaml")


@pytest.fixture
def rlvr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rlvr", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return call


def test_help_lists_every_verb(rlvr) -> None:
    code, out, _ = rlvr("--help")
    assert code == 0
    for verb in ("run", "plan", "doctor", "eval", "verify", "export", "report", "fetch"):
        assert f" {verb} " in out


def test_parsing_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['rlvr', '--help']\n"
        "import rlvr.cli\n"
        "try: rlvr.cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'vllm', 'ray', 'deepspeed', 'transformers', 'pydantic', 'yaml', 'numpy', 'datasets'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"


@pytest.mark.parametrize("verb", ["run", "plan", "doctor"])
@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("sampling.group_size=1", "sampling.group_size: 1 is too small, must be at least 2"),
        ("stages.grpo.updtes=3", "did you mean 'updates'?"),
        ("cluster.gpus_per_node=2", "need 3 GPUs, 1 x 2 are there"),
    ],
)
def test_bad_recipe_is_one_line_and_exit_2(rlvr, tmp_path: Path, verb: str, override: str, words: str) -> None:
    out_dir = ["--out", str(tmp_path / "runs")] if verb == "run" else []
    code, out, err = rlvr(verb, RECIPE, override, *out_dir)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert words in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_every_error_of_a_recipe_is_a_line(rlvr) -> None:
    code, _, err = rlvr("plan", RECIPE, "seed=-1", "nme=x")
    assert code == 2
    assert [line.split(": ")[:2] for line in err.splitlines()] == [
        ["error", "override 'seed=-1'"],
        ["error", "override 'nme=x'"],
    ]


def test_missing_recipe_and_run_folder(rlvr, tmp_path: Path) -> None:
    assert rlvr("run", "none.yaml") == (2, "", "error: none.yaml: no such recipe file; give the path of a YAML file\n")
    for verb in ("report", "export"):
        code, _, err = rlvr(verb, str(tmp_path))
        assert code == 2
        assert "no run folder" in err


@pytest.mark.parametrize("arguments", [["rnu"], ["run"], ["plan", RECIPE, "--frobnicate"], ["eval", RECIPE]])
def test_wrong_usage_exits_2(rlvr, arguments: list[str]) -> None:
    assert rlvr(*arguments)[0] == 2


def test_plan_exits_0_where_it_fits_and_1_where_not(rlvr) -> None:
    code, out, _ = rlvr("plan", RECIPE)
    assert code == 0
    assert out.splitlines()[-1].startswith("fits: ")
    code, out, _ = rlvr("plan", RECIPE, "engine.kv_cache_gib=1024")
    assert code == 1
    assert out.splitlines()[-1].startswith("does not fit: ")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DataError("rows.jsonl:3: no answer"), (2, "", "error: rows.jsonl:3: no answer\n")),
        (DoctorFailed("log-probs differ by 0.5"), (1, "", "error: log-probs differ by 0.5\n")),
        (InvalidVerdicts("9% invalid"), (1, "", "error: 9% invalid\n")),
    ],
)
def test_exit_code_says_whose_fault_it_is(rlvr, error: Exception, expected: tuple[int, str, str]) -> None:
    @app.command("fail")
    def fail() -> None:
        raise error

    try:
        assert rlvr("fail") == expected
    finally:
        app.registered_commands.pop()


class FromActor(DataError):
    """What an actor's UserError is at the caller: also a UserError, told by a traceback, with the one raised in it."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(f"\x1b[36mray::Actor.read()\x1b[39m (pid=7)\n  File ...\n{type(cause).__name__}: {cause}")
        self.cause = cause


class DoctorInActor(DoctorFailed):
    cause = DoctorFailed("log-probs differ by 0.5")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FromActor(DataError("rows.jsonl:3: no answer")), (2, "", "error: rows.jsonl:3: no answer\n")),
        (FromActor(FromActor(DataError("a\nb"))), (2, "", "error: a\nerror: b\n")),
        (DoctorInActor("a whole traceback"), (1, "", "error: log-probs differ by 0.5\n")),
        (
            DataError("x\x1b[2J\x07\r\x9b\x85\u2028\u202e\ud800\ty\nz"),
            (2, "", "error: x\u241b[2J\u2407\u240d\\x9b\\x85\\u2028\\u202e\\ud800\ty\nerror: z\n"),
        ),
    ],
)
def test_what_is_printed_is_the_message_with_control_codes_visible(rlvr, error, expected) -> None:
    @app.command("fail")
    def fail() -> None:
        raise error

    try:
        assert rlvr("fail") == expected
    finally:
        app.registered_commands.pop()


def test_our_own_fault_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    @app.command("fail")
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys, "argv", ["rlvr", "fail"])
    try:
        with pytest.raises(ZeroDivisionError):
            main()
    finally:
        app.registered_commands.pop()


@pytest.mark.timeout(60)
def test_interrupt_exits_130(tmp_path: Path) -> None:
    pipe = tmp_path / "recipe.yaml"
    os.mkfifo(pipe)
    # A shell's background jobs ignore interrupts, and so would the child.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "rlvr.cli", "plan", str(pipe)]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with pipe.open("w"):  # opens once the child has begun to read the recipe, and holds it there
        err = None
        while err is None:
            child.send_signal(signal.SIGINT)  # again where it came just before the child began to wait for the pipe
            with contextlib.suppress(subprocess.TimeoutExpired):
                err = child.communicate(timeout=5)[1]
    assert child.returncode == 130
    assert err == "error: interrupted; the same command goes on from the last checkpoint\n"

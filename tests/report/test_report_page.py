"""The page of a whole run, of a hostile one, and of one with pieces missing."""

import dataclasses
import html.parser
import json
import re
import shutil
from pathlib import Path

import pytest
from synthetic_run import HOSTILE, records

from rlvr.report.html import write_report
from rlvr.report.outcome import evaluations, headline, summary_lines
from rlvr.report.run_folder import RunFolder
from rlvr.report.samples import split_thinking

VOID = {"meta", "br", "hr"}


class Page(html.parser.HTMLParser):
    """Checks that elements nest, and keeps tags, attributes and visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(name)
        self.links += [value or "" for key, value in attributes if key in ("src", "href", "xlink:href")]
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page(folder: RunFolder) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


def test_a_whole_run(folder: RunFolder) -> None:
    shown = page(folder)
    for words in ("quickstart", "4 of 5 stages done", "after coldstart", "after grpo", "after distill", "pass@k"):
        assert words in shown.text
    for words in ("Reward and accuracy", "Mismatch of learner and sampler", "log-probs agree after an update", "1:58"):
        assert words in shown.text
    for words in ("expected", "✗ wrong", "✓ right", "no thinking", "thinking · 31 tokens", "group_size: 8", "2.13.0"):
        assert words in shown.text


def test_the_fix_of_a_check_is_told_only_where_it_failed(folder: RunFolder) -> None:
    checks = [
        {"stage": "grpo", "name": name, "ok": ok, "figure": "24 tokens", "fix": f"mend {name}", "note": False}
        for name, ok in (("prompt", True), ("template", False))
    ]
    (folder.root / "doctor.json").write_text(json.dumps(checks))
    shown = page(folder)
    assert "24 tokens; mend template" in shown.text
    assert "mend prompt" not in shown.text


def test_the_page_needs_no_network_and_no_script(folder: RunFolder) -> None:
    raw = write_report(folder).read_text(encoding="utf-8")
    shown = Page(raw)
    assert not {"script", "link", "iframe", "img", "object"} & shown.tags
    assert all(link.startswith("#") for link in shown.links)
    assert "@import" not in raw
    assert not re.findall(r"url\((?!#)", raw)


def test_what_a_model_wrote_is_shown_and_never_run(folder: RunFolder) -> None:
    for name in ("grpo-before", "grpo-after"):
        hostile = [
            dataclasses.replace(
                one, question=HOSTILE, expected=HOSTILE, texts=(f"<think>{HOSTILE}</think>{HOSTILE}",) * 4
            )
            for one in records("p", 0.5, 31, count=3)
        ]
        folder.write_eval(name, hostile)
    (folder.root / "doctor.json").write_text(
        json.dumps([{"stage": HOSTILE, "name": HOSTILE, "ok": False, "figure": HOSTILE, "fix": HOSTILE}])
    )
    raw = write_report(folder).read_text(encoding="utf-8")
    shown = Page(raw)
    assert "<script" not in raw
    assert "<script>alert('x')</script> ␛ [31mred ␇ \\u202e" in shown.text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", raw)


def test_eval_records_survive_line_separators_inside_a_text(folder: RunFolder) -> None:
    odd = [dataclasses.replace(one, texts=("a\u2028b\x85c\x0bd\ne",) * 4) for one in records("p", 0.5, 31, count=2)]
    folder.write_eval("odd", odd)
    assert folder.eval_records("odd") == odd


@pytest.mark.parametrize(
    "missing", ["recipe.resolved.json", "environment.json", "doctor.json", "metrics.jsonl", "eval", "stages"]
)
def test_a_partial_run_is_still_a_page(folder: RunFolder, missing: str) -> None:
    path = folder.root / missing
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert "quickstart" in page(folder).text
    assert summary_lines(folder)


def test_an_empty_folder_is_a_page_too(tmp_path: Path) -> None:
    assert "No held-out evaluation has been made yet." in page(RunFolder(tmp_path)).text
    assert summary_lines(RunFolder(tmp_path)) == [f"report: {tmp_path / 'report.html'}"]


def test_a_run_killed_in_its_first_grpo_steps(folder: RunFolder) -> None:
    rows = folder.metrics_path.read_text().splitlines()
    kept = [row for row in rows if '"coldstart"' in row] + [row for row in rows if '"grpo"' in row][:2]
    folder.metrics_path.write_text("\n".join(kept) + '\n{"stage": "gr')
    for name in ("grpo-after", "distill-before", "distill-after"):
        (folder.root / "eval" / f"{name}.jsonl").unlink()
    for stage in ("grpo", "traces", "distill"):
        shutil.rmtree(folder.stage(stage))
    shown = page(folder)
    assert "not finished" in shown.text
    assert "The same problems, before coldstart and after" in shown.text


def test_evaluations_follow_the_recipe_not_the_clock(folder: RunFolder) -> None:
    folder.write_eval("coldstart-before", records("p", 0.0, 0))  # written last
    names = [one.name for one in evaluations(folder)]
    assert names == [f"{s}-{when}" for s in ("coldstart", "grpo", "distill") for when in ("before", "after")]
    story = [one.name for one in headline(evaluations(folder))]
    assert story == ["coldstart-before", "coldstart-after", "grpo-after", "distill-after"]


def test_summary_lines_tell_accuracy_lengths_and_where_the_report_is(folder: RunFolder) -> None:
    right = [dataclasses.replace(one, statuses=("correct",) * 4) for one in records("p", 1.0, 31, count=20)]
    wrong = [
        dataclasses.replace(one, statuses=("wrong",) * 4, tokens=(14,) * 4) for one in records("p", 0, 0, count=20)
    ]
    folder.write_eval("grpo-before", wrong)
    folder.write_eval("grpo-after", [dataclasses.replace(one, tokens=(40,) * 4) for one in right])
    write_report(folder)
    lines = summary_lines(folder)
    # Wilson at 0 of 20: high = z^2 / (20 + z^2) = 16.1%
    told = "held-out accuracy 0.0% (0.0–16.1) -> 100.0% (83.9–100.0), tokens 14 -> 40, thinking 0 -> 31"
    assert lines[1] == f"grpo: {told}"
    assert lines[-1] == f"report: {folder.root / 'report.html'}"
    (folder.root / "eval" / "grpo-before.jsonl").unlink()
    assert "after grpo: held-out accuracy 100.0% (83.9–100.0), tokens 40, thinking 31" in summary_lines(folder)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>a</think>b", ("a", "b", True)),
        ("a</think>b", ("a", "b", True)),
        ("<think>a", ("a", "", False)),
        ("b", (None, "b", True)),
        ("<think></think>b", ("", "b", True)),
        ("x<think>a</think>b", ("a", "xb", True)),
    ],
)
def test_split_thinking(text: str, expected: tuple[str | None, str, bool]) -> None:
    assert split_thinking(text) == expected


def test_a_very_long_completion_is_cut_and_says_so(folder: RunFolder) -> None:
    long = [dataclasses.replace(one, texts=("x" * 50_000,) * 4) for one in records("p", 0.5, 31, count=2)]
    folder.write_eval("grpo-before", long)
    raw = write_report(folder).read_text(encoding="utf-8")
    assert "… 44,000 more characters" in raw
    assert "x" * 6001 not in raw

"""Nothing a model writes steers a terminal, and nothing of it gets lost."""

import io
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from rlvr.report.escape import escape_terminal, visible
from rlvr.report.markup import Html, escape_html, join, tag


def test_controls_become_visible_and_newlines_stay() -> None:
    assert visible("a\x1b[31mb\x07\r\n\tc\x7f") == "a␛[31mb␇␍\n\tc␡"
    assert visible("\x9b31m \u202eabc\u2066 \u200b") == "\\x9b31m \\u202eabc\\u2066 \\u200b"
    assert visible("\ud800 \U000e0041") == "\\ud800 \\U000e0041"
    assert visible("naïve 中文 x² ≤ 3 👍") == "naïve 中文 x² ≤ 3 👍"


def test_markup_is_printed_as_it_is() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, color_system=None)
    console.print(escape_terminal("[red]no[/red] [link=http://x]y[/link] \x1b]8;;http://x\x07"), highlight=False)
    console.print(f"{escape_terminal('x' + chr(92))}[bold]y[/bold]", highlight=False)
    assert out.getvalue() == f"[red]no[/red] [link=http://x]y[/link] ␛]8;;http://x␇\nx{chr(92)}y\n"


@given(st.text(st.characters(codec=None)))
def test_no_control_character_is_left(text: str) -> None:
    left = {c for c in visible(text) if unicodedata.category(c) in ("Cc", "Cs")}
    assert left <= {"\n", "\t"}
    visible(text).encode()


def test_plain_strings_are_escaped_and_markup_is_not() -> None:
    assert tag("b", "<i>&\"'", class_='x"y') == '<b class="x&quot;y">&lt;i&gt;&amp;&quot;&#x27;</b>'
    assert tag("p", tag("b", "1"), Html("<hr>"), "<hr>") == "<p><b>1</b><hr>&lt;hr&gt;</p>"
    assert join("a", Html("<br>")) == "a<br>"


def test_controls_in_html_are_visible_and_marked() -> None:
    assert escape_html("a\x1b\n<") == 'a<span class="control">␛</span>\n&lt;'

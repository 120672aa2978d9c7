"""HTML that is safe by construction: every plain string put into a `tag` is escaped, only `Html` passes as it is."""

from __future__ import annotations

import html

from rlvr.report.escape import CONTROLS, name_control


class Html(str):
    """Markup made here, to be written as it is."""

    __slots__ = ()


def escape_html(text: str) -> Html:
    """Return `text` as markup that shows it literally, control characters visible and marked."""
    escaped = html.escape(text, quote=True)
    return Html(CONTROLS.sub(lambda m: f'<span class="control">{name_control(m.group())}</span>', escaped))


def tag(name: str, *children: str, **attributes: str) -> Html:
    """Return an element; `class_` gives the class, an underscore inside an attribute's name becomes a dash."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value, quote=True)}"' for key, value in attributes.items()
    )
    return Html(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: str) -> Html:
    """Return the children one after another, plain strings escaped."""
    return Html("".join(child if isinstance(child, Html) else escape_html(child) for child in children))

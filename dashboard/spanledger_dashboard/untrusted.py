"""Text that models and users wrote, made safe to place in labels and charts.

Streamlit renders the labels of almost every element as markdown, and Plotly reads `<`, `&` and `%{` in its texts. Names of
features, models, users and rules come from outside; a name such as `![](…)` would otherwise make the viewer's browser call
its author. Longer texts are never labels: they go to `st.text`, `st.code` or a table cell as they are.
"""

import re
from typing import Final

LABEL_LIMIT: Final = 60
CHART_TEXT_LIMIT: Final = 120
NOT_SET: Final = "not set"
_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&^=@/])")
_LINKLIKE: Final = re.compile(r"(?i)https?:|www\.|@")
"""What Markdown turns into a link even where its characters are escaped."""
_JOINER: Final = "\u2060"
_SPACE: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+")


def shorten(text: str | None, limit: int = LABEL_LIMIT) -> str:
    """One line of at most `limit` characters without control or direction-changing characters; None is "not set"."""
    if text is None or text == "":
        return NOT_SET
    line = _SPACE.sub(" ", text).strip() or "(blank)"
    return line if len(line) <= limit else line[: limit - 1] + "…"


def label(text: str | None, limit: int = LABEL_LIMIT) -> str:
    """`text` as a label that Streamlit's markdown shows letter for letter."""
    return _MARKDOWN.sub(r"\\\1", _LINKLIKE.sub(lambda found: f"{found[0][:-1]}{_JOINER}{found[0][-1]}", shorten(text, limit)))


def badge_label(text: str | None, limit: int = LABEL_LIMIT) -> str:
    """`text` for `st.badge`, which escapes square brackets itself; escaping them twice would bring them back to life."""
    return label(text, limit).replace("\\[", "[").replace("\\]", "]")


def chart_text(text: str | None, limit: int = CHART_TEXT_LIMIT) -> str:
    """`text` for Plotly: no tags, entities or templates are left in it."""
    escaped = shorten(text, limit).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("%{", f"%{_JOINER}{{")

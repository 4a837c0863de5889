"""Who reads in this session: with which key, for which person, and what the collector lets them do.

It lives in the session on the server; a page that is loaded anew is told by the reader's visit, or a provider's cookie, who it
is. What is hidden by `may` is only hidden for comfort: the collector is who refuses.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import streamlit as st

_READER: Final = "_reader"
_ME: Final = "_me"


@dataclass(frozen=True, slots=True)
class Reader:
    """Whose rights a question has. Answers are kept by it: nobody sees what was read for somebody else.

    Attributes:
        key: Sent to the collector; "" for none.
        person: For whom the key acts.
        scopes: What this person may do, by their roles.
    """

    key: str = field(default="", repr=False)
    person: str | None = None
    scopes: tuple[str, ...] | None = None


def put(reader: Reader, me: dict[str, Any] | None) -> None:
    """Set who reads, and what the collector says of them; None while it does not answer."""
    st.session_state[_READER] = reader
    st.session_state[_ME] = me


def current() -> Reader:
    """Who reads."""
    found = st.session_state.get(_READER)
    return found if isinstance(found, Reader) else Reader()


def me() -> dict[str, Any]:
    """What the collector says of who reads; empty while it does not answer."""
    return st.session_state.get(_ME) or {}


def may(scope: str) -> bool:
    """Whether the reader is permitted something, as far as is known."""
    found = me()
    return not found or scope in found.get("scopes", ())


def leave() -> None:
    """Forget all of this session: who it was, and what was shown to them."""
    for name in list(st.session_state):
        del st.session_state[name]

"""The door: who comes in with what. A key of the settings for everybody, a person's own key, or an OpenID provider.

Where the collector serves without keys nobody is asked. A person's own key is kept on the server, in the session and in their
visit (`visits`), which a page that is loaded anew goes on with. A provider's claims come from Streamlit's signed cookie; the
dashboard then acts with its key for the person, with the scopes of their roles.
"""

import os
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

import streamlit as st

from spanledger.client import ClientError, Unauthorized
from spanledger_dashboard import data, people, reader
from spanledger_dashboard.people import FILE_VARIABLE, KEY_VARIABLE
from spanledger_dashboard.reader import Reader
from spanledger_dashboard.sign_in_file import load
from spanledger_dashboard.untrusted import label
from spanledger_dashboard.visits import DOOR, VISITS, id_in

_OWN: Final = "_own_key"
_VISIT: Final = "_visit"
_TICKET: Final = "_visit_ticket"
_SAID: Final = "_sign_in_said"
_KEY_CHARS_MAX: Final = 512
_CARD_PX: Final = 440
_LOGO_PX: Final = 140
LOGO: Final = Path(__file__).resolve().parent / "static" / "logo.png"


def shared_key() -> str:
    """The key of the settings; "" for none."""
    return os.environ.get(KEY_VARIABLE, "").strip()


@st.cache_resource(show_spinner=False)
def _sign_in(path: str) -> people.SignIn:
    return load(Path(path))


def enter() -> bool:
    """Let the reader in, or show the page that says how; whether they are in."""
    path = os.environ.get(FILE_VARIABLE, "").strip()
    if path:
        return _enter_as_person(_sign_in(path))
    return _enter_with_key()


def whoami() -> None:
    """For the foot of the sidebar: who reads, and the way out. Nothing where nobody was asked."""
    if not _can_leave():
        return
    name = reader.current().person or str(reader.me().get("name") or reader.me().get("actor") or "your key")
    with st.container(key="whoami", gap="xxsmall"):
        st.caption(label(f"Signed in as {name}", 120))
        _leave(type="tertiary")


def _can_leave() -> bool:
    return _OWN in st.session_state or bool(os.environ.get(FILE_VARIABLE, "").strip())


def _leave(**look: Any) -> None:
    if st.button("Sign out", icon=":material/logout:", key="sign_out", **look):
        is_own = _OWN in st.session_state
        VISITS.end(st.session_state.get(_VISIT, ""))
        reader.leave()
        if is_own:
            st.rerun()
        st.logout()


def _enter_with_key() -> bool:
    shared = shared_key()
    key = shared or _own_key()
    who = Reader(key)
    try:
        found = data.me(who)
    except Unauthorized:
        if shared:
            _blocked(f"The dashboard's own key is not valid. Set {KEY_VARIABLE} to one that is, or to none: people then sign in.")
            return False
        if key:
            VISITS.end(st.session_state.get(_VISIT, ""))
            reader.leave()
            st.session_state[_SAID] = "Your key is no longer valid: it was revoked or has expired. Ask for another."
        _ask_for_key()
        return False
    except ClientError:
        # The collector is away: the pages say so better, and ask again.
        reader.put(who, None)
        return True
    return _admit(who, found)


def _own_key() -> str:
    """The reader's own key: of this session, or of their visit, when the page was loaded anew; "" for none."""
    now_s = time.monotonic()
    if _OWN not in st.session_state:
        visit = id_in(st.context.cookies)
        key = VISITS.key(visit, now_s) or ""
        if not key:
            return ""
        st.session_state.update({_OWN: key, _VISIT: visit})
        # What was known of it a moment ago does not count: it may have been revoked.
        data.doubt(Reader(key))
    elif (visit := st.session_state.get(_VISIT, "")) and VISITS.key(visit, now_s) is None:
        reader.leave()
        st.session_state[_SAID] = "You are signed out: in another window, as your key ended, or as you were away for long."
        return ""
    ticket = st.session_state.get(_TICKET, "")
    if ticket and VISITS.is_waiting(ticket, now_s):
        # Only an answer over HTTP can set a cookie; fetching a picture is one, and the page stays as it is.
        with st.container(key="ticket"):
            st.image(urljoin(str(st.context.url), f"{DOOR.removeprefix('/')}?ticket={ticket}"))
    return str(st.session_state[_OWN])


def _enter_as_person(sign_in: people.SignIn) -> bool:
    claims: dict[str, Any] = dict(st.user.to_dict())
    if not claims.get("is_logged_in"):
        _ask_for_person(sign_in)
        return False
    if people.is_over(sign_in, claims, time.time()):
        st.session_state[_SAID] = "Your sign-in is over; sign in again."
        _ask_for_person(sign_in)
        return False
    found = people.admit(sign_in, claims)
    if isinstance(found, people.Stranger):
        _not_admitted(f"{found.name or 'Somebody without a name'} may not use this dashboard. Ask whoever runs it.", found.reason)
        return False
    who = Reader(shared_key(), found.name, tuple(sorted(found.scopes)))
    try:
        answer = data.me(who)
    except Unauthorized as error:
        _blocked(f"The dashboard's own key ({KEY_VARIABLE}) cannot be used for people who sign in. {error.detail}")
        return False
    except ClientError:
        reader.put(who, None)
        return True
    return _admit(who, answer)


def _admit(who: Reader, found: dict[str, Any]) -> bool:
    reader.put(who, found)
    if reader.may("read"):
        return True
    scopes = ", ".join(found.get("scopes", ())) or "nothing"
    name = who.person or found.get("name") or "this key"
    _not_admitted(f"{name} may not read here.", f"You may: {scopes}. Ask for the scope read.")
    return False


def _page(title: str, caption: str) -> Any:
    """The card in the middle of an otherwise empty page."""
    with st.container(horizontal_alignment="center", key="door"):
        box = st.container(border=True, key="sign_in", gap="small", width=_CARD_PX)
    with box:
        st.image(str(LOGO), width=_LOGO_PX)
        with st.container(gap="xxsmall"):
            st.subheader(label(title), anchor=False)
            st.caption(label(caption, 300))
    return box


def _said() -> None:
    if words := st.session_state.pop(_SAID, ""):
        st.error(label(words, 400), icon=":material/error:")


def _ask_for_key() -> None:
    with _page("Sign in with your key", "It decides what you see, and its id is in the audit log."):
        with st.form("key_form", border=False, clear_on_submit=True):
            given = st.text_input("Key", type="password", placeholder="sl_…", max_chars=_KEY_CHARS_MAX, key="given_key")
            is_sent = st.form_submit_button("Sign in", type="primary", icon=":material/login:", width="stretch")
        if is_sent and _try(given.strip()):
            st.rerun()
        _said()
        with st.container(gap="xsmall"):
            st.caption("No key? An admin makes one:")
            st.code("spanledger keys create --scope read --project <name>", language=None, wrap_lines=True)
            st.caption("You stay signed in until you sign out, close the browser, or were away for twelve hours.")


def _try(given: str) -> bool:
    if not given:
        st.session_state[_SAID] = "Paste a key first."
        return False
    if not given.isascii() or not given.isprintable():
        st.session_state[_SAID] = "This is no key: a key has only ASCII characters."
        return False
    try:
        data.me(Reader(given))
    except Unauthorized:
        st.session_state[_SAID] = "This key is not valid: it is mistyped, was revoked, or has expired."
        return False
    except ClientError as error:
        st.session_state[_SAID] = f"The key could not be checked. {error}"
        return False
    st.session_state[_OWN] = given
    if (browser := id_in(st.context.cookies)) and st.context.url:
        st.session_state[_VISIT], st.session_state[_TICKET] = VISITS.begin(browser, given, time.monotonic())
    return True


def _ask_for_person(sign_in: people.SignIn) -> None:
    with _page("Sign in", "With the account of your organisation. Your role decides what you see."):
        _said()
        for provider in sign_in.providers:
            words = f"Sign in with {provider}" if provider else "Sign in"
            if st.button(label(words), type="primary", icon=":material/login:", width="stretch", key=f"login_{provider}"):
                st.login(provider)


def _not_admitted(title: str, reason: str) -> None:
    with _page("No access", reason):
        st.text(title)
        if _can_leave():
            _leave(width="stretch")


def _blocked(words: str) -> None:
    with _page("Not set up yet", "Whoever runs this dashboard can put it right."):
        st.error(label(words, 400), icon=":material/error:")
        if st.button("Try again", icon=":material/refresh:", key="again_sign_in"):
            data.forget()
            st.rerun()

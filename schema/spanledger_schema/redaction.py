r"""Secrets and personal data in text, found in time linear in its length.

Every pattern is bounded: it looks at so many characters from where it starts and no more, or it consumes what it looked at, so
that no text makes it slow. Text may be JSON inside JSON, which is searched as it stands: an escape such as `\n` directly
before a secret does not hide it and is not cut apart, so that what was JSON stays JSON.
"""

import re
from collections.abc import Callable, Collection, Iterator
from typing import Final

Finder = Callable[[str], Iterator[tuple[int, int]]]


def _edge(head: int, glued: str = "A-Za-z0-9") -> str:
    """That a word begins `head` characters back; the end of an escape of JSON is an edge too, although it is a letter or digit.

    It stands behind the first characters of a pattern, so that the search can skip to those.
    """
    return rf"(?:(?<![{glued}].{{{head}}})|(?<=\\[bfnrt].{{{head}}})|(?<=\\u[0-9A-Fa-f]{{4}}.{{{head}}}))"


_PEM: Final = re.compile(
    r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,4}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----))*+"
    r"(?:-----END (?:[A-Z0-9]{1,12} ){0,4}PRIVATE KEY(?: BLOCK)?-----)?"
)
# By the rarest character of each, with what must stand before it, and the number of characters up to where the match ends.
_TOKEN_STARTS: Final = (
    (r"_(?<=gsk_|npm_)", 4),
    (r"[-_](?<=[sr]k[-_])", 3),
    (r"_(?<=gh[pousr]_)", 4),
    (r"_(?<=github_)pat_", 11),
    (r"-(?<=glpat-)", 6),
    (r"-(?<=xox[abeoprs]-)", 5),
    (r"-(?<=xapp-)", 5),
    (r"-(?<=pypi-)", 5),
    (r"-(?<=pplx-)", 5),
    (r"-(?<=GOCSPX-)", 7),
    (r"-(?<=xai-)", 4),
    (r"_(?<=hf_|r8_|sl_)", 3),
    (r"_(?<=whsec_|shpat_)", 6),
    (r"_(?<=dop_)v1_", 7),
    (r"I(?<=AKI|ASI)A", 4),
    (r"I(?<=AI)za", 4),
    (r"9(?<=ya29)\.", 5),
    (r"G(?<=SG)\.", 3),
    (r"J(?<=eyJ)", 3),
)
_TOKEN_START: Final = re.compile("|".join(f"{start}()" for start, _ in _TOKEN_STARTS))
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]*+(?:\.[A-Za-z0-9_-]++){0,4}+")
_TOKEN_CHARS_MIN: Final = 20
_LONG_RUN: Final = re.compile(r"[A-Za-z0-9]{16}")
_BEARER: Final = re.compile(r"(?:bearer|basic) {1,4}([a-z0-9._~+/=-]{16,}+)")
_ASSIGNED: Final = re.compile(
    r"(?:api[_-]?key|secret[_-]?key|access[_-]?key|private[_-]?key|client[_-]?secret|access[_-]?token|auth[_-]?token|refresh[_-]?token"
    r"|passw(?:or)?d|passphrase)(?:\\{0,7}[\"'])?\s{0,4}[:=]\s{0,4}(?:\\{0,7}[\"'])?([^\s\"'\\,;&<>{}()\[\]]{6,256}+)"
)
_URL_PASSWORD: Final = re.compile(r"://[^\s/@:\"'\\]{0,64}+:([^\s/@\"'\\]{1,256}+)@")
_LOCAL: Final = re.compile(r"[\w.+%-]")
_ESCAPE: Final = re.compile(r"\\(?:[bfnrt]|u[0-9A-Fa-f]{4})")
_LOCAL_CHARS_MAX: Final = 64
_DOMAIN: Final = re.compile(r"(?:[\w-]{1,63}+\.){1,8}[^\W\d_][\w-]{1,62}+")
_CARD: Final = re.compile(rf"[2-6]{_edge(1)}(?<![0-9][.].)[0-9]{{3}}(?:[ -]?[0-9]){{9,15}}")
_IBAN: Final = re.compile(rf"[0-9]{{2}}(?<=[A-Za-z]{{2}}..){_edge(4)}(?:[ -]?[A-Za-z0-9]){{11,30}}")
_IBAN_COUNTRY_CHARS: Final = 2
_PHONE: Final = re.compile(
    rf"[+(2-9]{_edge(1, 'A-Za-z0-9.+')}(?:(?<=[+])[1-9](?:[ ().-]{{0,2}}[0-9]){{7,14}}(?![0-9])"
    r"|(?<=[(])[2-9][0-9]{2}\) ?[0-9]{3}[ .-][0-9]{4}(?![0-9-])"
    r"|(?<=[2-9])[0-9]{2}(?:([.-])[0-9]{3}\1| [2-9][0-9]{2} )[0-9]{4}(?![0-9-]))"  # three numbers in a row are not one
)
_IPV4: Final = re.compile(rf"[0-9]{_edge(1, 'A-Za-z0-9.+')}[0-9]{{0,2}}(?:\.[0-9]{{1,3}}){{3}}(?![0-9A-Za-z]|\.[0-9])")
_IPV6_HINT: Final = re.compile(r":[0-9A-Fa-f]{0,4}:")
_IPV6: Final = re.compile(
    rf"[0-9A-Fa-f:]{_edge(1, '0-9A-Za-z:.')}"
    r"(?:(?<=:)(?::[0-9A-Fa-f]{0,4}){1,7}|(?<!:)[0-9A-Fa-f]{0,3}(?::[0-9A-Fa-f]{0,4}){2,7})"
    r"(?:(?:\.[0-9]{1,3}){3})?(?![0-9A-Za-z:])"
)
_IBAN_COUNTRIES: Final = {
    15: "NO",
    16: "BE",
    18: "DK FI FK FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "CH CR HR LI LV",
    22: "BG BH DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
_IBAN_CHARS: Final = {country: count for count, countries in _IBAN_COUNTRIES.items() for country in countries.split()}


def redact(text: str, kinds: Collection[str]) -> str:
    """The text with each secret of those kinds replaced by `[redacted:<kind>]`; the very same text if there is none."""
    for kind, finders in _FINDERS.items():
        if kind in kinds:
            for finder in finders:
                text = _replace(text, finder, f"[redacted:{kind}]")
    return text


def _replace(text: str, finder: Finder, label: str) -> str:
    pieces: list[str] = []
    done = 0
    for start, end in finder(text):
        pieces += (text[done:start], label)
        done = end
    return "".join((*pieces, text[done:])) if pieces else text


def _whole(pattern: re.Pattern[str], hint: str) -> Finder:
    def find(text: str) -> Iterator[tuple[int, int]]:
        return (match.span() for match in pattern.finditer(text)) if hint in text else iter(())

    return find


def _find_named(text: str) -> Iterator[tuple[int, int]]:
    """Values that follow what names them, as in `password=…` and `Authorization: Bearer …`; the names in any case."""
    lowered = text.lower()
    if len(lowered) != len(text):
        # One Turkish letter becomes two: positions would differ.
        lowered = text
    for pattern, is_secret, hints in _NAMED:
        if any(hint in lowered for hint in hints):
            for match in pattern.finditer(lowered):
                start, end = match.span(1)
                if is_secret(text[start:end]):
                    yield start, end


def _checked(pattern: re.Pattern[str], end_of: Callable[[str, int, int], int], before: int = 0) -> Finder:
    """Where `end_of` confirms a candidate by saying where it ends; after a false one the search goes on one further.

    The candidate begins `before` characters before the match.
    """

    def find(text: str) -> Iterator[tuple[int, int]]:
        match = pattern.search(text)
        while match is not None:
            start = match.start() - before
            end = end_of(text, start, match.end())
            if end > start:
                yield start, end
            match = pattern.search(text, max(end, match.start() + 1))

    return find


def _find_tokens(text: str) -> Iterator[tuple[int, int]]:
    """Keys that say what they are by how they begin."""
    match = _TOKEN_START.search(text)
    while match is not None:
        end = match.end()
        start = end - _TOKEN_STARTS[(match.lastindex or 1) - 1][1]
        if _is_edge(text, start):
            run = _TOKEN.match(text, start)
            end = run.end() if run is not None else end
            if _is_random(text[start:end]):
                yield start, end
        match = _TOKEN_START.search(text, end)


def _is_edge(text: str, at: int) -> bool:
    if at == 0 or not (text[at - 1].isascii() and text[at - 1].isalnum()):
        return True
    before = text[max(0, at - 6) : at]
    return before[-2:] in ("\\b", "\\f", "\\n", "\\r", "\\t") or before.startswith("\\u")


def _is_random(token: str) -> bool:
    """Whether it is a key rather than a name such as `sk_learn_pipeline_v2`."""
    if len(token) < _TOKEN_CHARS_MIN or not _has(token, str.isdigit):
        return False
    run = _LONG_RUN.search(token)
    return run is not None or (len(token) >= 32 and _has(token, str.isupper) and _has(token, str.islower))


def _has(text: str, is_kind: Callable[[str], bool]) -> bool:
    return any(map(is_kind, text))


def _is_no_word(value: str) -> bool:
    """Whether it is more than a word in lower case, as in "the password: optional"."""
    return not (value.isalpha() and value.islower())


def _has_digit(value: str) -> bool:
    return _has(value, str.isdigit)


def _find_emails(text: str) -> Iterator[tuple[int, int]]:
    at = text.find("@")
    done = 0
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1)
        if domain is not None:
            start = at
            lowest = max(done, at - _LOCAL_CHARS_MAX)
            while start > lowest and _LOCAL.match(text, start - 1):
                start -= 1
            escape = _ESCAPE.match(text, max(0, start - 1))
            if escape is not None:
                start = escape.end()
            if start < at:
                done = domain.end()
                yield start, done
        at = text.find("@", max(at + 1, done))


def _end_of_card(text: str, start: int, end: int) -> int:
    """Where a card number that begins at `start` ends, or 0: the longest that has an issuer's length and checksum."""
    while end - start >= 13:
        if text[end - 1].isdigit() and not text[end : end + 1].isalnum():
            digits = text[start:end].replace(" ", "").replace("-", "")
            if _has_card_length(digits) and _passes_luhn(digits):
                return end
        end -= 1
    return 0


def _has_card_length(digits: str) -> bool:
    count, two, four = len(digits), int(digits[:2]), int(digits[:4])
    if digits[0] == "4":
        return count in (13, 16, 19)
    if 51 <= two <= 55 or 2221 <= four <= 2720 or 3528 <= four <= 3589:
        return count == 16
    if two in (34, 37):
        return count == 15
    if two in (36, 38, 39) or 3000 <= four <= 3059:
        return count == 14
    return 16 <= count <= 19 and (four == 6011 or two in (62, 65) or 6440 <= four <= 6499)


def _passes_luhn(digits: str) -> bool:
    doubled = [int(digit) * 2 for digit in digits[-2::-2]]
    return (
        sum(int(digit) for digit in digits[-1::-2]) + sum(number - 9 if number > 9 else number for number in doubled)
    ) % 10 == 0


def _end_of_iban(text: str, start: int, end: int) -> int:
    length = _IBAN_CHARS.get(text[start : start + 2].upper(), 99)
    characters = 0
    for at in range(start, end):
        if text[at] not in " -":
            characters += 1
        if characters == length:
            iban = text[start : at + 1].replace(" ", "").replace("-", "").upper()
            is_whole = not (text[at + 1 : at + 2].isascii() and text[at + 1 : at + 2].isalnum())
            number = "".join(str(int(character, 36)) for character in iban[4:] + iban[:4])
            return at + 1 if is_whole and int(number) % 97 == 1 else 0
    return 0


def _end_of_ipv4(text: str, start: int, end: int) -> int:
    return end if all(int(part) <= 255 for part in text[start:end].split(".")) else 0


def _end_of_ipv6(text: str, start: int, end: int) -> int:
    import ipaddress

    found = text[start:end]
    try:
        ipaddress.IPv6Address(found)
    except ValueError:
        return 0
    # `::` and `a::b` are more often a programmer's.
    return end if _has_digit(found) or found.count(":") > 4 else 0


def _find_ipv6(text: str) -> Iterator[tuple[int, int]]:
    done = 0
    hint = _IPV6_HINT.search(text)
    while hint is not None:
        # The first colon of an address, with the group before it.
        start, done = hint.start(), max(done, hint.start() + 1)
        lowest = max(0, start - 4)
        while start > lowest and text[start - 1] in "0123456789abcdefABCDEF":
            start -= 1
        for at in range(start, hint.start() + 1):
            # Later beginnings are for escapes of JSON, whose digits look like a group.
            match = _IPV6.match(text, at)
            if match is not None and _end_of_ipv6(text, at, match.end()):
                done = match.end()
                yield at, done
                break
        hint = _IPV6_HINT.search(text, done)


_NAMED: Final[tuple[tuple[re.Pattern[str], Callable[[str], bool], tuple[str, ...]], ...]] = (
    (_BEARER, _has_digit, ("bearer ", "basic ")),
    (_ASSIGNED, _is_no_word, ("key", "token", "secret", "passw", "passphrase")),
    (_URL_PASSWORD, bool, ("://",)),
)
_FINDERS: Final[dict[str, tuple[Finder, ...]]] = {
    "private_key": (_whole(_PEM, "-----BEGIN "),),
    "api_key": (
        _find_tokens,
        _find_named,
    ),
    "email": (_find_emails,),
    "iban": (_checked(_IBAN, _end_of_iban, _IBAN_COUNTRY_CHARS),),
    "card": (_checked(_CARD, _end_of_card),),
    "phone": (_whole(_PHONE, ""),),
    "ip": (_checked(_IPV4, _end_of_ipv4), _find_ipv6),
}

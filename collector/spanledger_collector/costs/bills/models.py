"""One name for a model, whoever wrote it: the ledger's calls, an export's ids, a console's display names."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from spanledger_collector.pricing import table
from spanledger_collector.pricing.names import ROUTERS, candidates, provider_id

_DATE: Final = re.compile(r"[-@ ](?:20\d\d-?\d\d-?\d\d|\d{4})$|-latest$|-preview$")
_CLAUDE: Final = re.compile(r"claude-(haiku|sonnet|opus|instant)-(\d+(?:-\d)?)((?:-\d{8}|-\d{4}-\d\d-\d\d)?)")
_CLAUDE_OLD: Final = re.compile(r"claude-(\d+(?:-\d)?)-(haiku|sonnet|opus|instant)((?:-\d{8}|-\d{4}-\d\d-\d\d)?)")
_BRACKETS: Final = re.compile(r"\s*\([^)]*\)")


class Model(NamedTuple):
    """Who served it and what it is called; the price book's words for both, where it knows the model."""

    provider: str
    name: str

    @property
    def undated(self) -> "Model":
        """The same without its snapshot's date."""
        return Model(self.provider, _DATE.sub("", self.name))


@lru_cache(maxsize=4_096)
def known_as(provider: str, model: str) -> Model:
    """The model that a name means.

    Args:
        provider: In any spelling; may be empty.
        model: An id, or a display name such as `Claude Sonnet 4.5`.
    """
    for spelling in dict.fromkeys(_spellings(model)):
        for candidate in candidates(provider, spelling):
            if (listed := table.find(candidate)) is not None:
                return Model(listed.provider, listed.info.id.lower())
    host = provider_id(provider)
    return Model("" if host in ROUTERS else host, model.strip().lower())


def _spellings(model: str) -> Iterator[str]:
    name = model.strip().lower()
    yield name
    if " " not in name:
        return
    dashed = re.sub(r"[\s_]+", "-", _BRACKETS.sub("", name))
    yield dashed
    dashes = dashed.replace(".", "-") if dashed.startswith("claude") else dashed
    yield dashes
    if (match := _CLAUDE.fullmatch(dashes)) or (match := _CLAUDE_OLD.fullmatch(dashes)):
        yield f"claude-{match[2]}-{match[1]}{match[3]}"

"""Colours of charts, light and dark, and which series gets which.

The first six colours stay apart for readers with any of the usual colour-vision deficiencies; a seventh series is `Other`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

FONT: Final = "Inter, sans-serif"
SERIES_MAX: Final = 6


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one theme, as `#RRGGBB`."""

    series: tuple[str, ...]
    other: str
    text: str
    muted: str
    grid: str
    page: str
    ok: str
    warn: str
    bad: str

    @property
    def main(self) -> str:
        """The colour of a single series."""
        return self.series[0]

    @property
    def accent(self) -> str:
        """The second colour: what rose, what stands out."""
        return self.series[1]


LIGHT: Final = Palette(
    series=("#1F4FBF", "#E69500", "#19A79B", "#7A1F6B", "#E4577A", "#3F6212"),
    other="#8A94A3",
    text="#16202E",
    muted="#5B6675",
    grid="#E7EBF1",
    page="#FFFFFF",
    ok="#0B7A5B",
    warn="#B45309",
    bad="#B4232A",
)
DARK: Final = Palette(
    series=("#5B8CFF", "#FFB347", "#35D0BA", "#C94FA6", "#D9E88F", "#F0726A"),
    other="#7A8595",
    text="#E6EBF2",
    muted="#9AA6B5",
    grid="#232C3A",
    page="#0E131B",
    ok="#5AD1A8",
    warn="#FFB066",
    bad="#FF8A80",
)


def palette(name: str | None) -> Palette:
    """The palette of Streamlit's theme type, light unless it says dark."""
    return DARK if name == "dark" else LIGHT


def colours(names: Iterable[str], of: Palette, order: Sequence[str] = ()) -> dict[str, str]:
    """A colour for each of at most six names: the same name gets the same one wherever it can, whatever its rank here.

    `order` is the list of all known names; its first six have the six colours, others take what is free.
    """
    known = {name: index for index, name in enumerate(order)}
    free = list(range(SERIES_MAX))
    chosen: dict[str, str] = {}
    for name in sorted(set(names), key=lambda n: (known.get(n, len(known)), n)):
        if not free:
            chosen[name] = of.other
            continue
        wanted = known.get(name, crc32(name.encode())) % SERIES_MAX
        slot = min(free, key=lambda candidate: (candidate - wanted) % SERIES_MAX)
        free.remove(slot)
        chosen[name] = of.series[slot]
    return chosen


def on_fill(fill: str) -> str:
    """Black or white, whichever reads better on `fill`."""
    red, green, blue = (int(fill[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#FFFFFF"


def faded(colour: str, opacity: float) -> str:
    """`colour` with an opacity, as rgba()."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"

"""What a bench module returns: one row of the table that `make bench` prints."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure against its target.

    Attributes:
        what: What was measured, in words.
        target: The target in words, such as `<= 1.3 x`; empty where there is none.
        figure: The measured value in words with its unit.
        met: Whether the target is met; None where there is no target.
        note: How it was measured, or what limits it.
    """

    what: str
    target: str
    figure: str
    met: bool | None
    note: str = ""

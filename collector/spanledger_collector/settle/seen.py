"""Which traces the store may already hold: a Bloom filter over trace ids.

A trace that is new to this process may still have spans in the store, from before a restart or from before it was forgotten.
Reading back is slow (one granule per trace), so a trace that the filter has never seen is known to be new; what it may have seen
is read back. A false "maybe" costs one read, and there is no false "no".
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

_MULTIPLIERS: Final = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], dtype=np.uint64)
_BITS_MIN: Final = 27

Words = npt.NDArray[np.uint64]


class SeenTraces:
    """Says "maybe" to everything until `finish_loading`."""

    def __init__(self, expected: int = 0) -> None:
        """Size the filter for at least `expected` traces (about 1 % false maybes up to a tenth of the bits)."""
        self._log_bits = max(_BITS_MIN, (expected * 12).bit_length())
        self._bits = np.zeros(1 << (self._log_bits - 3), dtype=np.uint8)
        self._is_loaded = False

    @staticmethod
    def words(trace_ids: Sequence[str]) -> Words:
        """One 64-bit word per hex trace id: its halves, exclusive or."""
        halves = np.frombuffer(bytes.fromhex("".join(trace_ids)), dtype=">u8").astype(np.uint64).reshape(-1, 2)
        return halves[:, 0] ^ halves[:, 1]

    def _places(self, words: Words) -> npt.NDArray[np.uint64]:
        return (words[:, None] * _MULTIPLIERS) >> np.uint64(64 - self._log_bits)

    def add(self, words: Words) -> None:
        """Remember traces."""
        places = self._places(words).ravel()
        np.bitwise_or.at(self._bits, places >> np.uint64(3), np.uint8(1) << (places & np.uint64(7)).astype(np.uint8))

    def maybe(self, words: Words) -> npt.NDArray[np.bool_]:
        """Whether each trace may be in the store."""
        if not self._is_loaded:
            return np.ones(len(words), dtype=np.bool_)
        places = self._places(words)
        bits = (self._bits[places >> np.uint64(3)] >> (places & np.uint64(7)).astype(np.uint8)) & np.uint8(1)
        return np.asarray(bits.all(axis=1), dtype=np.bool_)

    def finish_loading(self) -> None:
        """From now on a "no" is certain."""
        self._is_loaded = True

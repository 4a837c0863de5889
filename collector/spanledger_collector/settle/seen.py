"""What the store may already hold: a Bloom filter over trace ids, or over names such as response ids.

A trace that is new to this process may still have spans in the store, from before a restart or from before it was forgotten.
Reading back is slow (one granule per trace), so a trace that the filter has never seen is known to be new; what it may have seen
is read back. A false "maybe" costs one read, and there is no false "no".
"""

from collections.abc import Sequence
from hashlib import md5
from typing import Final

import numpy as np
import numpy.typing as npt

_MULTIPLIERS: Final = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], dtype=np.uint64)
_BITS: Final = 27

Words = npt.NDArray[np.uint64]


def trace_words(trace_ids: Sequence[str]) -> Words:
    """One 64-bit word per hex trace id: its halves, exclusive or."""
    halves = np.frombuffer(bytes.fromhex("".join(trace_ids)), dtype=">u8").astype(np.uint64).reshape(-1, 2)
    return halves[:, 0] ^ halves[:, 1]


def text_words(names: Sequence[str]) -> Words:
    """One 64-bit word per name: the first half of its MD5, which the store can compute too (`ledger.response_words`)."""
    digests = b"".join([md5(name.encode(), usedforsecurity=False).digest()[:8] for name in names])
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


class Seen:
    """Says "maybe" to everything until `finish_loading`."""

    def __init__(self, log_bits: int = _BITS) -> None:
        """A filter of 2^`log_bits` bits (about 1 % false maybes up to a tenth of them)."""
        self._log_bits = log_bits
        self._bits = np.zeros(1 << (self._log_bits - 3), dtype=np.uint8)
        self.is_loaded = False

    def _places(self, words: Words) -> npt.NDArray[np.uint64]:
        return (words[:, None] * _MULTIPLIERS) >> np.uint64(64 - self._log_bits)

    def add(self, words: Words) -> None:
        """Remember traces."""
        places = self._places(words).ravel()
        np.bitwise_or.at(self._bits, places >> np.uint64(3), np.uint8(1) << (places & np.uint64(7)).astype(np.uint8))

    def maybe(self, words: Words) -> npt.NDArray[np.bool_]:
        """Whether each trace may be in the store."""
        if not self.is_loaded:
            return np.ones(len(words), dtype=np.bool_)
        places = self._places(words)
        bits = (self._bits[places >> np.uint64(3)] >> (places & np.uint64(7)).astype(np.uint8)) & np.uint8(1)
        return np.asarray(bits.all(axis=1), dtype=np.bool_)

    def join(self, other: "Seen") -> None:
        """Take over all that another filter of the same size has seen."""
        self._bits |= other._bits

    def finish_loading(self) -> None:
        """From now on a "no" is certain."""
        self.is_loaded = True

"""zstd, wherever this Python has it."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression.zstd import CompressionParameter, ZstdCompressor, ZstdDecompressor, ZstdError
else:
    from backports.zstd import CompressionParameter, ZstdCompressor, ZstdDecompressor, ZstdError

__all__ = ["ZstdCompressor", "ZstdDecompressor", "ZstdError", "compressor"]

# Vectors of floats shrink by a tenth at any level; what shrinks is payload, and above 3 that is slow.
LEVEL = 3


def compressor() -> ZstdCompressor:
    """Return what writes one frame, with a sum over its content at the end."""
    return ZstdCompressor(
        options={
            CompressionParameter.compression_level: LEVEL,
            CompressionParameter.checksum_flag: 1,
        }
    )

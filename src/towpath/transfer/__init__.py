"""Reads the files of any source, writes them to any destination, and says what arrived.

Streams: nothing is held but a chunk, every byte is hashed once on its way.
"""

from towpath.transfer.copy import Copied, Progress, copy, digest_of

__all__ = ["Copied", "Progress", "copy", "digest_of"]

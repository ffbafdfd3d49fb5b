"""Reads the files of any source, writes them to any destination, and says what arrived; or only
reads them, and says what is there.

Streams: nothing is held but a chunk, every byte is hashed once on its way.
"""

from towpath.transfer.copy import Copied, Progress, copy, digest_of, examine

__all__ = ["Copied", "Progress", "copy", "digest_of", "examine"]

"""Reads and writes images in a folder of OCI layouts, over the OCI distribution protocol 1.1.

Who may do what is decided in front of it.
"""

from towpath.distribution.api import app

__all__ = ["app"]

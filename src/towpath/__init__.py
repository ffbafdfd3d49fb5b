"""Towpath takes a trained model the whole way, from its file to an answered request."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("towpath")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]

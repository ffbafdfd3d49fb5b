"""Towpath takes a trained model the whole way, from its file to an answered request."""

__version__ = "0.1.0"

__all__ = ["__version__"]

"""The command line: the only reader of arguments, environment and files; a thin face.

Each command lives in a file of its own and imports its room when used, so ``towpath --help`` loads
none. An error becomes one sentence on stderr, with a hint, and an exit code by its class.
"""

from towpath.cli.main import main

__all__ = ["main"]

"""The command line: the only reader of arguments, environment and files; a thin face.

Each command lives in a file of its own and imports its room when used, so ``towpath --help`` loads
none. An error becomes one sentence on stderr, with a hint, and an exit code by its class.
"""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments name."""
    if sys.argv[1:2] == ["child"]:  # one of our own processes: it needs no command line's libraries
        from towpath.cli.child import run

        run(sys.argv[2], sys.argv[3])
    else:
        from towpath.cli.main import run_command

        run_command()

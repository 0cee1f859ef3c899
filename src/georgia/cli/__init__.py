"""The command line: the only place that prints. One file a command, named after it."""

from georgia.cli.app import main

__all__ = ["main"]

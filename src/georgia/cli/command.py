"""How every command begins: the packages it needs, its words (none is empty), ``~`` as the home folder."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from georgia.cli.packages import NEEDED, check_packages
from georgia.config import expand_home
from georgia.errors import InputError


class Command(TyperCommand):
    """A command that rejects empty words, which would be the current folder, and expands ``--out=~/x``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Check and expand the words before they become arguments and options.

        Raises:
            InputError: a word is empty, as an unset variable of a shell leaves it.
        """
        given: list[str] = []
        for word in args:
            option, sign, value = word.partition("=")
            is_option = word.startswith("--") and bool(sign)
            if not (value if is_option else word):
                before = option if is_option else given[-1] if given else ctx.info_name
                raise InputError(
                    f"Cannot use the word after {before!r}",
                    needs="a name is needed",
                    got="an empty one",
                    hint="Is a variable unset? Leave the option out, or write . for this folder.",
                )
            given.append(f"{option}={expand_home(value)}" if is_option else expand_home(word))
        return super().parse_args(ctx, given)

    def invoke(self, ctx: Any) -> Any:
        """Run the command, once the packages that it cannot do without are known to be installed.

        Raises:
            MissingDependencyError: names every missing one, and the extra that brings them.
        """
        check_packages(f"Cannot {self.name}", NEEDED.get(self.name or "", ()))
        return super().invoke(ctx)

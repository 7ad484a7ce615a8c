"""Where commands print to."""

from typing import Any

from rich.console import Console
from rich.text import Text

from graphloss.cli.output import shown


class Terminal(Console):
    """A console that shows what it is given and obeys none of it: neither markup nor control characters."""

    def __init__(self, *, quiet: bool = False, soft_wrap: bool = False) -> None:
        super().__init__(quiet=quiet, highlight=False, markup=False, soft_wrap=soft_wrap)

    def render_str(self, text: str, **settings: Any) -> Text:
        """A string as it is to be shown."""
        return super().render_str(shown(text), **settings)

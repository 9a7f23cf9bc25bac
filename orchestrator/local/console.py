"""What the person who started the stack sees."""

from rich.console import Console
from rich.text import Text

COLOURS = {"triton": "green", "redis": "red", "worker": "magenta", "api": "cyan"}


class Screen:
    """Lines on standard output, coloured on a terminal only, and unless NO_COLOR is set."""

    def __init__(self) -> None:
        self._out = Console(highlight=False, soft_wrap=True)
        self._errors = Console(stderr=True, highlight=False, soft_wrap=True)

    def echo(self, part: str, line: str) -> None:
        """One line of a part's log; Triton's tables are too wide for it, and in the file."""
        if part == "triton" and line.startswith(("|", "+")):
            return
        prefix = Text(f"{part:>6} │ ", style=COLOURS.get(part, "yellow"))
        self._show(self._out, prefix.append(line, style="default"))

    def say(self, text: str) -> None:
        self._show(self._out, Text(text))

    def complain(self, text: str) -> None:
        self._show(self._errors, Text(text, style="bold red"))

    def _show(self, console: Console, text: Text) -> None:
        try:
            console.print(text)
        except (OSError, SystemExit):  # nobody reads any more (rich exits on a broken pipe), but
            console.quiet = True  # whoever calls has parts to look after

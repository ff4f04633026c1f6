"""What `fluxstudio up` shows: the steps of its start, and then what to try."""

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

DEMO_EMAIL = "demo@fluxstudio.example"
DEMO_PASSWORD = "demo-studio-2026"  # noqa: S105 - shown to everybody who runs the demo
DEMO_SLUG = "aurora-identity"


class Screen:
    """The terminal, or the file or pipe in its place: there, plain lines and no animation."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)

    @contextmanager
    def step(self, text: str, *, animated: bool = True) -> Iterator[None]:
        """Shows that something is under way, and how long it took.

        Args:
            animated: False for work that shows its own progress.
        """
        started = time.monotonic()
        if self._console.is_terminal and animated:
            with self._console.status(f"{text} …"):
                yield
        else:
            self.line(f"{text} …")
            yield
        if self._console.is_terminal:
            self._console.print(
                Text.assemble(("✓ ", "green"), text, (f"  {time.monotonic() - started:.1f} s", "dim"))
            )

    def line(self, text: str) -> None:
        self._console.print(text, markup=False)

    def error(self, text: str) -> None:
        head, _, rest = text.partition("\n")
        self._console.print(Text.assemble(("✗ ", "red bold"), (head, "bold")))
        if rest:
            self._console.print(Text(rest, style="dim"))

    def welcome(self, url: str, directory: Path, *, has_mailbox: bool = False) -> None:
        """Shows the address, the login of the demo, and commands that work as they stand."""
        cookies = shlex.quote(_short(directory / "cookies.txt"))
        sign_in = f'{{"email": "{DEMO_EMAIL}", "password": "{DEMO_PASSWORD}"}}'
        commands = (
            (
                "sign in",
                f"curl -c {cookies} {url}/api/sign-in -H 'Content-Type: application/json' -d '{sign_in}'",
            ),
            ("your projects", f"curl -b {cookies} {url}/api/projects"),
            ("search", f"curl -b {cookies} '{url}/api/search?q=logo'"),
            ("health", f"curl {url}/api/health"),
        )
        self.line("")
        self._console.print(Text.assemble(("FluxStudio runs at ", "bold"), (url, "bold cyan")))
        self.line("")
        self._console.print(f"  [dim]A public page [/] {url}/p/{DEMO_SLUG}")
        if has_mailbox:
            self._console.print(f"  [dim]Mailbox       [/] {url}/dev/mail")
        self._console.print(
            f"  [dim]Pulse         [/] {url}/pulse  [dim]live numbers, for operators: the demo login is one[/]"
        )
        self._console.print(f"  [dim]Demo login    [/] {DEMO_EMAIL}  [dim]password[/] {DEMO_PASSWORD}")
        self.line("")
        self.line("  Try next, in another terminal:")
        for title, command in commands:
            self.line("")
            self._console.print(f"  [dim]# {title}[/]")
            self.line(f"  {command}")
        self.line("")
        self._console.print(f"[dim]Data and logs are in {_short(directory)}. Ctrl-C stops everything.[/]")


def _short(path: Path) -> str:
    """The path from here, if it is below here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)

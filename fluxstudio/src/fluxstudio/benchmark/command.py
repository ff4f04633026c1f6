"""`fluxstudio bench`: the options as the command line gives them, and the exit status."""

from pathlib import Path

from rich.console import Console

from fluxstudio.benchmark.options import BenchError, Options, parse_clients
from fluxstudio.benchmark.options import short as shortened
from fluxstudio.benchmark.run import run
from fluxstudio.seed import SeedError
from valtier.embedded import EmbeddedServerError


def bench(
    *,
    size: str,
    clients: str,
    paced: int,
    online: int,
    seconds: float,
    rounds: int,
    data_dir: Path,
    out: Path,
    short: bool,
) -> int:
    """Runs the bench and returns the exit status: 0 also when targets were missed, 1 when it could not be run."""
    console = Console(width=None if Console().is_terminal else 120)
    try:
        options = Options(
            size=size,
            clients=parse_clients(clients),
            paced=paced,
            online=online,
            seconds=seconds,
            rounds=rounds,
            data_dir=data_dir,
            out=out,
        )
        run(shortened(options) if short else options, console)
    except (BenchError, EmbeddedServerError, SeedError) as exc:
        console.print(f"fluxstudio bench: {exc}", style="bold red", markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped; everything that the bench started has ended.")
        return 130
    return 0

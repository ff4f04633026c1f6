"""What the benches share: how a run is asked for, measured by turns, judged, and reported."""

VALTIER = "valtier"


class BenchError(Exception):
    """The bench could not be run; the message says what to do. A missed target is a result, not an error."""

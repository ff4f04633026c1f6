"""bench.request: what a layer takes itself, and a short run."""

import pytest

from bench.request import HIT, SIDES, main, shares


def test_a_layer_takes_what_is_left_without_the_layers_inside_it() -> None:
    layers = {"Traffic": 40.0, "Edge": 30.0, "cache and answer": 22.0, "session": 7.0, "this bench": 2.0}
    own = shares(layers)
    assert own == {"Traffic": 10.0, "Edge": 8.0, "session": 5.0, "cache and answer": 15.0}
    assert sum(own.values()) == layers["Traffic"] - layers["this bench"]


def test_a_short_run_measures_every_kind_on_both_sides_and_every_layer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["--rounds", "1", "--count", "20"])
    told = capsys.readouterr().out
    for name in (*SIDES, HIT, "POST …/messages", "RateLimit", "SecurityHeaders", "session"):
        assert name in told

"""What holds for all tests of the repository."""

import gc
import signal


def pytest_configure() -> None:
    """Lets Ctrl-C reach the programs under test, also where a shell runs the tests in the background.

    A shell makes those ignore it, and whatever they start inherits that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Spares full garbage collections the thousands of tests and their modules, which stay until the end.

    They cost each collection 0.3 s of CPU, and the benches make one before each figure.
    """
    gc.collect()
    gc.freeze()

#!/bin/sh
# Runs valtier's tests with every other Python from 3.11 to 3.13 that is installed here, each in a .venv-3.x of its own with
# the locked versions of what these tests need. Without arguments: the core tests. PYTHON is the one of the project.
set -eu

core="valtier/tests/test_durations.py valtier/tests/test_keys.py valtier/tests/test_handshake.py valtier/tests/test_cache.py
valtier/tests/test_limits_algorithms.py valtier/tests/test_outbox.py valtier/tests/test_socketio_bus.py"
[ $# -gt 0 ] || set -- $core

own=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# The path of a Python of this version that works; nothing if there is none.
find_python() {
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/"python$1"; do
        if "$candidate" -c "import sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

tried=
for version in 3.11 3.12 3.13; do
    [ "$version" != "$own" ] || continue
    python=$(find_python "$version")
    if [ -z "$python" ]; then
        echo "Python $version is not here."
        continue
    fi
    venv=.venv-$version
    echo "Python $version …"
    lock=$(mktemp)
    "$PYTHON" tools/runtime_lock.py --part 'valtier[postgres,socketio,testing]' \
        pytest pytest-asyncio pytest-timeout hypothesis httpx aiohttp granian uvloop hatchling editables >"$lock"
    if ! cmp -s "$lock" "$venv/.lock"; then
        rm -rf "$venv"
        "$python" -m venv "$venv"
        if ! "$venv/bin/python" -m pip --disable-pip-version-check --no-input --quiet install --no-deps \
            --require-hashes -r "$lock" >"$venv/setup.log" 2>&1 ||
            ! "$venv/bin/python" -m pip --disable-pip-version-check --no-input --quiet install --no-deps \
                --no-build-isolation -e valtier >>"$venv/setup.log" 2>&1; then
            echo "The installation failed; all that pip said is in $venv/setup.log." >&2
            exit 1
        fi
        cp "$lock" "$venv/.lock"
    fi
    rm -f "$lock"
    "$venv/bin/python" -m pytest -q "$@"
    tried="$tried $version"
done
echo "Tested with Python $own${tried:+, and}$tried."

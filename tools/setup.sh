#!/bin/sh
# Makes .venv from requirements.lock and installs both packages into it, editable.
set -eu

if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "FluxStudio needs Python 3.11 or newer; '$PYTHON' is not. Run: make PYTHON=python3.12 …" >&2
    exit 1
fi
if [ ! -x "$VENV/bin/python" ]; then
    echo "Making $VENV …"
    "$PYTHON" -m venv "$VENV" || {
        echo "'$PYTHON -m venv' failed. On Debian and Ubuntu: apt-get install python3-venv" >&2
        rm -rf "$VENV"
        exit 1
    }
fi

pip() { "$VENV/bin/python" -m pip --disable-pip-version-check "$@"; }

echo "Installing the locked dependencies (about a minute the first time) …"
progress=on
[ -t 1 ] || progress=off
pip install --quiet --progress-bar "$progress" --require-hashes --no-deps -r requirements.lock
pip install --quiet --no-deps --no-build-isolation -e valtier -e fluxstudio

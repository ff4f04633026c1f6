#!/bin/sh
# Writes requirements.lock from requirements.in for every platform and Python from 3.11 on.
set -eu

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$PYTHON" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" --disable-pip-version-check install --quiet uv
"$tmp/venv/bin/uv" pip compile requirements.in \
    --universal --python-version 3.11 --generate-hashes \
    --no-annotate --no-header --no-emit-index-url --upgrade --quiet \
    --output-file requirements.lock
echo "requirements.lock: $(grep -c '==' requirements.lock) packages"

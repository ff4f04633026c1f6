#!/bin/sh
# Writes requirements.lock from requirements.in for every platform and Python from 3.11 on: everything at its newest or,
# with KEEP=1, what is locked already as it is.
set -eu

upgrade=--upgrade
if [ -n "${KEEP:-}" ]; then upgrade=; fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$PYTHON" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" --disable-pip-version-check install --quiet uv
"$tmp/venv/bin/uv" pip compile requirements.in \
    --universal --python-version 3.11 --generate-hashes \
    --no-annotate --no-header --no-emit-index-url ${upgrade} --quiet \
    --output-file requirements.lock
echo "requirements.lock: $(grep -c '==' requirements.lock) packages"

#!/bin/sh
# Makes .venv from requirements.lock and installs both packages into it, editable.
# Says every few seconds that it goes on; what pip says goes to a log. An interrupted run is begun anew.
set -eu

new_enough='import sys; sys.version_info < (3, 11) and sys.exit(1)'
if ! "$PYTHON" -c "$new_enough" 2>/dev/null; then
    echo "FluxStudio needs Python 3.11 or newer; '$PYTHON' is not. Run: make PYTHON=python3.12 …" >&2
    exit 1
fi

# Holds the id of the setup under way. A file that is left says that a setup was interrupted: pip takes packages
# that were unpacked by halves for installed ones.
unfinished=$VENV/.unfinished
log=$VENV/setup.log
job=

under_way() {
    [ -n "$1" ] && kill -0 "$1" 2>/dev/null || return 1
    { tr '\0' ' ' <"/proc/$1/cmdline" || ps -o args= -p "$1"; } 2>/dev/null | grep -q 'setup\.sh'
}

other=$(cat "$unfinished" 2>/dev/null || true)
if under_way "$other"; then
    echo "Another setup is under way here (process $other); waiting for it …"
    while [ -e "$unfinished" ] && under_way "$other"; do sleep 1; done
fi
if [ -e "$unfinished" ]; then
    echo "An earlier setup was interrupted: making $VENV anew …"
    rm -rf "$VENV"
elif [ -e "$VENV" ] && ! "$VENV/bin/python" -c "$new_enough; import pip" 2>/dev/null; then
    echo "The Python of $VENV is too old or does not work any more: making it anew …"
    rm -rf "$VENV"
fi

mkdir -p "$VENV"
echo $$ >"$unfinished"
: >"$log"
trap 'if [ -n "$job" ]; then kill "$job" 2>/dev/null || true; fi' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

packages=$(grep -c '^[^ #].*==' requirements.lock)

# How far pip has come, as its log and the directory tell.
progress() {
    collected=$(grep -c '^Collecting ' "$log" || true)
    if grep -q '^Installing collected' "$log"; then
        installed=$(find "$VENV"/lib/*/site-packages -maxdepth 1 -name '*.dist-info' | wc -l)
        echo "unpacking, $((installed)) of about $packages packages"
    elif [ "$collected" -gt 0 ]; then
        echo "fetching, $collected of about $packages packages"
    else
        echo "working"
    fi
}

# Runs a command in the background and tells every two seconds that it goes on, and how far it is.
run() {
    title=$1
    shift
    echo "$title …"
    "$@" >>"$log" 2>&1 &
    job=$!
    seconds=0
    while kill -0 "$job" 2>/dev/null; do
        sleep 0.2
        seconds=$((seconds + 1))
        if [ $((seconds % 10)) -eq 0 ]; then
            if [ -t 1 ]; then printf '\r\033[K  %s (%s s)' "$(progress)" $((seconds / 5)); fi
            if [ ! -t 1 ] && [ $((seconds % 20)) -eq 0 ]; then echo "  $(progress) ($((seconds / 5)) s)"; fi
        fi
    done
    if [ -t 1 ]; then printf '\r\033[K'; fi
    status=0
    wait "$job" || status=$?
    job=
    return "$status"
}

# The end of the log without the addresses of package registries.
fail() {
    tail -n 15 "$log" | sed -E 's#[a-z]+://[^ ,)]*#(address)#g; s/host=.[^,)]*/host=(address)/g' >&2
    echo "$1" >&2
    exit 1
}

if [ ! -x "$VENV/bin/python" ]; then
    run "Making $VENV" "$PYTHON" -m venv "$VENV" ||
        fail "'$PYTHON -m venv' failed. On Debian and Ubuntu: apt-get install python3-venv"
fi

install() {
    title=$1
    shift
    run "$title" "$VENV/bin/python" -m pip --disable-pip-version-check --no-input install \
        --progress-bar off --no-deps "$@" || fail "The installation failed; all that pip said is in $log. Run make again."
}

install "Installing the locked dependencies, about a minute the first time" --require-hashes -r requirements.lock
install "Installing valtier and fluxstudio" --no-build-isolation -e valtier -e fluxstudio
rm "$unfinished"

# Some tests need it and nothing else does: a machine that cannot have it is no reason to stop here.
run "Looking for Redis 7.0, for the tests" "$VENV/bin/python" tools/redis.py || tail -n 1 "$log" >&2

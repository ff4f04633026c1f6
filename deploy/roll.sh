#!/bin/sh
# Brings a new version out without an interruption: builds, migrates while the old version serves, and restarts one
# worker after the other. Run it where compose.yaml's `docker compose up -d` was run.
set -eu
cd "$(dirname "$0")"
docker compose build
docker compose run --rm migrate
for worker in web1 web2; do
    docker compose up -d --no-deps --wait --wait-timeout 120 "$worker"
    sleep 4 # nginx.conf: fail_timeout, after which the proxy tries it again
done
docker compose up -d

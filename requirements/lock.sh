#!/bin/sh
# Lock files with hashes and without any address. Needs uv on PATH.
set -eu
cd "$(dirname "$0")/.."
lock() {
    out=$1; shift
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --no-header --no-annotate "$@" --output-file "requirements/$out" pyproject.toml
}
lock service.txt --extra service
lock demo.txt --extra dev requirements/build.in
lock test.txt --extra dev --extra inbound --extra json-logs --extra opentelemetry \
    --extra postgresql --extra sentry --group test

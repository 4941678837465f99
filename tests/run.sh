#!/usr/bin/env bash
# The second command of the README: installs what the tests need, builds everything and runs all tests. Arguments go to ctest.
set -euo pipefail
cd "$(dirname "$0")/.."
.ci/install-packages test
cmake --preset dev
cmake --build --preset dev
exec ctest --test-dir build/dev --output-on-failure -j "$(nproc)" "$@"  # what loads the machine runs alone: RUN_SERIAL

#!/bin/sh
# Collects what an image holds of the clone:  collect.sh WEEK CHECKS TARGET   (in the clone's root)
#
# Without CHECKS: the plumbing of services, the fault proxy, week 1 (the server) and the week.
# With it all of infra and benchmarks too, and the variants in checks/ and bench/.
set -eu

week=$1 checks=$2 target=$3
mkdir -p "$target"

set -- week01_http_server "${week}"_*/
if [ -n "$checks" ]; then
    cp -r --parents infra benchmarks "$@" "$target"
else
    cp -r --parents infra/__init__.py infra/service infra/lab/__init__.py infra/lab/errors.py \
        infra/lab/owner.py infra/lab/faults "$@" "$target"
    rm -rf "$target"/week*/checks "$target"/week*/bench "$target"/week*/lab.py
fi
find "$target" -type d \( -name tests -o -name ansible -o -name starter -o -name images \) \
    -prune -exec rm -rf {} +

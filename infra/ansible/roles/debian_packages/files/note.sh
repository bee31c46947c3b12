#!/bin/sh
# note.sh NOTE PACKAGE...: adds to NOTE whatever apt would bring new to this host for the packages,
# their dependencies too. Lists of packages that are older than an hour are fetched anew.
set -eu
note=$1
shift
if [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*Packages*' -mmin -60 -print -quit)" ]; then
    apt-get -qq -o DPkg::Lock::Timeout=300 update
fi
mkdir -p "$(dirname "$note")"
# "Inst perl (5.40 ...)" is new, "Inst perl [5.38] (5.40 ...)" is an upgrade.
simulated=$(apt-get -qq --simulate --no-install-recommends install "$@")
printf '%s\n' "$simulated" | sed -n 's/^Inst \([^ ]*\) (.*/\1/p' >>"$note"

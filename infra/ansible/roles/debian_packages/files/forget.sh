#!/bin/sh
# forget.sh NOTE: removes the packages in NOTE that no other package depends on, then NOTE itself.
# Only those: `apt-get autoremove` alone would keep what somebody merely recommends, and would also
# take what was superfluous before we came. Prints the names of those it removes.
set -eu
note=$1
[ -f "$note" ] || exit 0
export DEBIAN_FRONTEND=noninteractive

here() {
    dpkg-query -W -f '${Package}:${db:Status-Status}\n' | sed -n 's/:installed$//p' |
        grep -Fx -f "$note" || true
}
would_remove() {
    apt-get -qq --simulate -o APT::AutoRemove::RecommendsImportant=false \
        -o APT::AutoRemove::SuggestsImportant=false "$@" | sed -n 's/^\(Remv\|Purg\) \([^ ]*\) .*/\2/p'
}
purge() {
    apt-get -y -qq -o DPkg::Lock::Timeout=300 purge "$@" >/dev/null
    printf '%s\n' "$@"
}

# Word by word below: names of packages have no spaces.
[ -z "$(here)" ] || apt-mark -qq auto $(here) >/dev/null
unneeded=$(would_remove autoremove | grep -Fx -f "$note" || true)
[ -z "$unneeded" ] || purge $unneeded
# What Debian calls important is never superfluous to autoremove, adduser for one.
for name in $(here); do
    [ "$(would_remove purge "$name")" != "$name" ] || purge "$name"
done
rm -f "$note"
rmdir --ignore-fail-on-non-empty "$(dirname "$note")"

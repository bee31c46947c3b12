# ask.sh ADDRESS UNIT...: the state of units of this host, for the lab's `status`.
set -eu
read -r uptime _ < /proc/uptime
printf 'Address=%s\nUptime=%s\n' "$1" "$uptime"
shift
for unit; do
    printf '\nAsked=%s\n' "$unit"
    systemctl show "$unit" --property=LoadState,ActiveState,SubState,MainPID,NRestarts \
        --property=MemoryCurrent,ActiveEnterTimestampMonotonic
    pid=$(systemctl show "$unit" --property=MainPID --value)
    # A stopped process (T) is what systemd itself does not see: to it the unit is active.
    [ ! -r "/proc/$pid/stat" ] || sed 's/.*) \(.\).*/Process=\1/' "/proc/$pid/stat"
    [ ! -e "/run/systemd/system/$unit.d/90-lab-killed.conf" ] || echo Killed=yes
done

# act.sh VERB UNIT...: start, stop, kill, crash, pause or resume units of this host, or forget that
# they were killed.
set -eu
verb=$1
shift

forget_kill() {
    [ -e "$1" ] || return 0
    rm "$1"
    rmdir "${1%/*}" 2>/dev/null || true # others may have settings in there, too
    systemctl daemon-reload
}

wait_until_dead() {
    for _ in $(seq 100); do
        case $(systemctl show "$1" --property=ActiveState --value) in
            failed | inactive) return ;;
        esac
        sleep 0.1
    done
    echo "$1 does not die" >&2
    exit 1
}

for unit; do
    override=/run/systemd/system/$unit.d/90-lab-killed.conf
    case $verb in
        kill | crash | pause | resume)
            if ! systemctl is-active --quiet "$unit"; then
                echo "$unit is not running: start it first" >&2
                exit 1
            fi
            ;;
    esac
    case $verb in
        start)
            forget_kill "$override"
            systemctl reset-failed "$unit"
            systemctl start "$unit"
            ;;
        forget) forget_kill "$override" ;;
        stop) systemctl stop "$unit" ;;
        kill)
            # Its restart policy would bring it back; in /run, so that a reboot forgets it.
            mkdir -p "${override%/*}"
            printf '[Service]\nRestart=no\n' > "$override"
            systemctl daemon-reload
            systemctl kill --signal=KILL "$unit"
            wait_until_dead "$unit"
            ;;
        crash) systemctl kill --signal=KILL --kill-whom=main "$unit" ;;
        pause) systemctl kill --signal=STOP "$unit" ;;
        resume) systemctl kill --signal=CONT "$unit" ;;
        *)
            echo "no such verb: $verb" >&2
            exit 2
            ;;
    esac
done

#!/bin/sh
# Starts a cluster of three nodes, subscribes a persistent session on the first, kills that node with kill -9, publishes on
# the second at QoS 1, and shows that the session has everything on the third. Exits with 0 only if so. Needs
# mosquitto-clients.
#
#   examples/failover.sh [QUELEA] [PORT]
#
# QUELEA is the broker's binary (target/release/quelea), PORT the first of three free ports of loopback (18840).
set -eu

quelea=${1:-target/release/quelea}
port=${2:-18840}
count=100
dir=$(mktemp -d)
cluster=

finish() {
    [ -z "$cluster" ] || kill "$cluster" 2>/dev/null || true
    wait
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 1' INT TERM

"$quelea" dev --base-port "$port" --data-dir "$dir" >"$dir/out" 2>&1 &
cluster=$!
tries=0
until [ -s "$dir/cluster.json" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 1200 ] || ! kill -0 "$cluster" 2>/dev/null; then
        cat "$dir/out" "$dir"/*.log
        exit 1
    fi
    sleep 0.1
done
cat "$dir/out"

# -E: leave as soon as the subscription is acknowledged. -c with an id: the session stays.
mosquitto_sub -p "$port" -c -i failover -q 1 -t failover/number -E

pid=$(sed -n '/"name": "quelea-1"/,/"pid"/s/.*"pid": \([0-9]*\).*/\1/p' "$dir/cluster.json")
kill -9 "$pid"
echo "killed quelea-1 ($pid)"

number=0
while [ "$number" -lt "$count" ]; do
    number=$((number + 1))
    echo "$number"
done >"$dir/sent"
# mosquitto_pub connects again by itself, and sends again what was not acknowledged.
timeout 120 mosquitto_pub -p $((port + 1)) -i failover-publisher -q 1 -t failover/number -l <"$dir/sent"

timeout 120 mosquitto_sub -p $((port + 2)) -c -i failover -q 1 -t failover/number -C "$count" >"$dir/got"
sort -nu "$dir/got" >"$dir/once"
if cmp -s "$dir/sent" "$dir/once"; then
    echo "all $count messages are there, on another node"
else
    echo "lost: $(sort "$dir/sent" "$dir/once" | uniq -u | tr '\n' ' ')" >&2
    exit 1
fi

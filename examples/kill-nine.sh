#!/bin/sh
# Kills the broker with kill -9 while a sensor publishes at QoS 1 into a persistent session, starts it again, and shows
# that the session gets every message. Needs mosquitto-clients.
#
#   examples/kill-nine.sh [QUELEA] [PORT]
#
# QUELEA is the broker's binary (target/release/quelea), PORT a free port of loopback (18830).
set -eu

quelea=${1:-target/release/quelea}
port=${2:-18830}
count=5000
dir=$(mktemp -d)
: >"$dir/log"
broker=
sensor=

finish() {
    for process in $sensor $broker; do
        kill "$process" 2>/dev/null || true
    done
    wait
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 1' INT TERM

start() {
    "$quelea" run --data-dir "$dir/data" --mqtt "localhost:$port" --http off 2>>"$dir/log" &
    broker=$!
    starts=$((${starts:-0} + 1))
    tries=0
    until [ "$(grep -c ' quelea: ready' "$dir/log")" -ge "$starts" ]; do
        tries=$((tries + 1))
        if [ "$tries" -gt 300 ] || ! kill -0 "$broker" 2>/dev/null; then
            cat "$dir/log"
            exit 1
        fi
        sleep 0.1
    done
}

subscribe() {
    mosquitto_sub -p "$port" -c -i sensor-log -q 1 -t sensor/number "$@"
}

numbers() {
    number=0
    while [ "$number" -lt "$count" ]; do
        number=$((number + 1))
        echo "$number"
        # A moment after every hundred, so that the kill comes in the middle.
        [ $((number % 100)) -ne 0 ] || sleep 0.05
    done
}

start
# -E: leave as soon as the subscription is acknowledged. -c with an id: the session stays.
subscribe -E
# mosquitto_pub connects again by itself, and sends again what was not acknowledged.
numbers | mosquitto_pub -p "$port" -i sensor -q 1 -t sensor/number -l &
sensor=$!
sleep 1
kill -9 "$broker"
wait "$broker" 2>/dev/null || true
kill -0 "$sensor" 2>/dev/null || { echo "the sensor was done before the kill"; exit 1; }
echo "killed in the middle"

start
wait "$sensor"
sensor=
echo "the sensor has published the numbers 1 to $count, and each was acknowledged"
# -W: for so many seconds, as often as it takes on a busy machine.
for _ in 1 2 3 4 5 6 7 8 9; do
    subscribe -W 3 >>"$dir/received" || true
    received=$(wc -l <"$dir/received")
    different=$(sort -u "$dir/received" | wc -l)
    [ "$different" -lt "$count" ] || break
done
echo "$received messages received, $different different ones"
[ "$different" -eq "$count" ] || { echo "messages are missing"; exit 1; }
echo "nothing was lost"

# Takes a network down: its processes, its namespaces, its directory. Called as `sh -c … undertaker NAME`.
#
# It first reads its input to the end. While the harness lives, that is open; when it ends, however it ends, SIGKILL
# included, the kernel closes it. Its output is the network's lock: nobody builds anew before this is through.
trap '' INT TERM HUP
cat >/dev/null
for namespace in $(ip netns list | cut -d' ' -f1 | grep "^strongroom\.$1\."); do
    # What it holds may start more until it is gone. A process that does not go leaves its namespace standing, and
    # the next one who builds says so.
    for round in 1 2 3 4 5 6 7 8 9 10; do
        processes=$(ip netns pids "$namespace")
        [ -n "$processes" ] || break
        # One that ended meanwhile is no fault.
        kill -KILL $processes 2>/dev/null
        sleep 0.05
    done
    ip netns delete "$namespace"
done
rm -rf "/run/strongroom-jepsen/$1"

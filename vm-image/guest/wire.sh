#!/bin/sh
# Test hosts at the other end of a wire, in the namespace "inet": registries, a resolver that knows
# every name, and a capture of all that arrives. Addresses are documentation ranges.
set -eu
exec >/dev/null 2>/run/wire.log

ip netns add inet
ip link add wire0 type veth peer name wire netns inet
inside() {
    ip netns exec inet "$@"
}

inside ip link set lo up
inside ip addr add 192.0.2.1/24 dev wire
inside ip addr add 192.0.2.53/32 dev lo
inside ip addr add 2001:db8:1::1/64 dev wire nodad || echo "no IPv6" >&2
inside ip route add local 203.0.113.0/24 dev lo
inside ip route add local 198.51.100.0/24 dev lo
inside ip -6 route add local 2001:db8:2::/64 dev lo || echo "no IPv6" >&2
inside ip link set wire up

# The capture first: whatever crosses the wire is in it.
inside tcpdump -i wire -nn -U --immediate-mode -Z root -w /run/wire.pcap 2>/run/capture.log &
until grep -q listening /run/capture.log; do
    sleep 0.1
done

inside docker-registry serve /opt/vm/registry.yml >>/run/registry.log 2>&1 &
inside dnsmasq --conf-file=/dev/null --no-resolv --no-hosts --listen-address=192.0.2.53 \
    --bind-interfaces --user=root --pid-file=/run/dnsmasq.pid --log-queries \
    --log-facility=/run/dns.log --address=/registry.allowed.example/203.0.113.10 \
    --address=/registry.blocked.example/203.0.113.11 --address=/#/203.0.113.99

ip addr add 192.0.2.2/24 dev wire0
ip -6 addr add 2001:db8:1::2/64 dev wire0 nodad || echo "no IPv6" >&2
ip link set wire0 up
ip route add default via 192.0.2.1 || echo "no route" >&2  # all is prohibited
ip -6 route add default via 2001:db8:1::1 || echo "no IPv6" >&2
inside ip route add 172.16.0.0/12 via 192.0.2.2

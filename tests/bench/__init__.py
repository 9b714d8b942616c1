"""`make bench`: ramnet beside what people would use instead, and beside no gate at all.

    python -m tests.bench [--quick] [--only STAGE]... [--afresh]

Two hosts as in `tests.lab` (vm and inet, a veth between them), with servers made for measuring: one
nginx with files in memory, one dnsmasq that knows every name, and one that answers after 20 ms.

A *stage* is what is measured together (`stages`), a *way* is what stands between client and
server (`ways`): nothing, ramnet, HAProxy, squid, or for DNS ramnet, dnsmasq, unbound. Each round
walks all stages and in each starts every way in turn, so that whatever the machine does meanwhile
meets all of them. A ratio is taken within one round; the table shows the median of the rounds'.

Peers run with the configuration in `peers/`, and get their traffic by the same kind of NAT rule as
ramnet does. They keep an access log, as ramnet keeps its audit log.

Each unit (stage, round, way) is kept in build/bench/samples.jsonl as soon as it is measured. A run
that was stopped goes on where it was, as long as commit and settings are the same. The result goes
to tests/bench/results: results.md, results.json, and one SVG for each plot.
"""

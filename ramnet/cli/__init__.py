"""The commands: parse, call, print; what they do is in the other rooms.

Every command imports what it needs when it runs: ``ramnet check`` must not pay for asyncio,
rich or pyroute2. Exit codes are a contract: 0 yes or done, 1 no, denied or findings, 2 usage,
3 the service does not run, 4 the kernel refused or privilege is missing.
"""

import click

from ramnet import __version__
from ramnet.cli import ca, caveats, facts, keygen, log, policy, publish, service, top, verify
from ramnet.cli.common import Group


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ramnet", message="%(prog)s %(version)s")
def main() -> None:
    """Decide which container registries this machine's Docker may reach."""


for _command in (
    service.run,
    service.hold,
    service.down,
    service.status,
    top.top,
    service.refresh,
    service.log_level,
    service.sign_in,
    service.sign_out,
    service.exec_,
    caveats.caveats,
    facts.check,
    log.events,
    log.suggest,
    facts.rules,
    verify.verify,
    policy.policy,
    ca.ca,
):
    main.add_command(_command)

for _command in (keygen.keygen, publish.publish):
    policy.policy.add_command(_command)

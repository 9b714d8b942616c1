"""``ramnet check`` and ``rules``."""

from pathlib import Path
from typing import Any

import click

from ramnet import config
from ramnet.cli.common import config_option, json_option, print_json, printable, require_root


@click.command()
@click.argument("hosts", metavar="HOST[:PORT]...", nargs=-1, required=True)
@config_option
@json_option
@click.pass_context
def check(ctx: click.Context, hosts: tuple[str, ...], config_path: Path, as_json: bool) -> None:
    """Would HOST be allowed, and by which entry? Exit 1 unless all are.

    Without a port the question is whether any port of it is allowed. The service is not asked.
    """
    from ramnet.cli.policy import own_policy
    from ramnet.policy import InvalidNameError, normalise, split_host_port

    policy = own_policy(config.load(config_path))
    answers: list[dict[str, Any]] = []
    for text in hosts:
        try:
            host, port = split_host_port(text)
            name = normalise(host)
        except InvalidNameError as error:
            raise click.UsageError(printable(error)) from error
        verdict = policy.decide(name, port)
        answers.append(
            {
                "host": name,
                "port": port,
                "allowed": verdict.allowed,
                "outcome": verdict.outcome.value,
                "entry": verdict.entry,
                "local": verdict.local,
                "enforced": policy.enforced,
            }
        )
    if as_json:
        print_json(answers)
    else:
        for text, answer in zip(hosts, answers, strict=True):
            click.echo(f"{printable(text)}: {_describe(answer)}")
    ctx.exit(0 if all(answer["allowed"] for answer in answers) else 1)


def _describe(answer: dict[str, Any]) -> str:
    refused = "refused" if answer["enforced"] else "passes, and would be refused"
    audit = "" if answer["enforced"] else "; the policy says enforce = false"
    if answer["outcome"] == "unlisted":
        return f"{refused} (no entry allows it{audit})"
    if answer["allowed"]:
        return f"allowed by {answer['entry']}"
    return f"{refused} by {answer['entry']}{audit}"


@click.command()
@config_option
@json_option
def rules(config_path: Path, as_json: bool) -> None:
    """The exact kernel state that would be applied, without applying it."""
    from ramnet.cli.service import enforcer_plan

    settings = config.load(config_path)
    require_root("ramnet rules, which probes what this kernel can do,")
    plans = enforcer_plan(settings)
    if as_json:
        print_json([{"scope": name, "rules": text} for name, text in plans.items()])
        return
    for name, text in plans.items():
        click.echo(f"# scope {name}\n{text}", nl=not text.endswith("\n"))

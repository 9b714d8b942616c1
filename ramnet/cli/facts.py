"""``ramnet check`` and ``rules``."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ramnet import config
from ramnet.cli.common import config_option, json_option, print_json, printable, require_root
from ramnet.errors import RamnetError

if TYPE_CHECKING:
    from ramnet.policy import Policy


@click.command()
@click.argument("hosts", metavar="HOST[:PORT]...", nargs=-1, required=True)
@click.option("-v", "--verbose", is_flag=True, help="How it was decided, and the way it would go.")
@config_option
@json_option
@click.pass_context
def check(
    ctx: click.Context, hosts: tuple[str, ...], verbose: bool, config_path: Path, as_json: bool
) -> None:
    """Would HOST be allowed, and by which entry? Exit 1 unless all are.

    Without a port the question is whether any port of it is allowed. The service is not asked.
    """
    from ramnet.cli.policy import own_policy

    settings = config.load(config_path)
    policy = own_policy(settings)
    answers = [_answer(policy, text) for text in hosts]
    if verbose:
        for answer in answers:
            answer |= _explain(policy, settings, answer)
    if as_json:
        print_json(answers)
    else:
        for text, answer in zip(hosts, answers, strict=True):
            click.echo(f"{printable(text)}: {_describe(answer)}")
            for line in _explained(answer) if verbose else ():
                click.echo(f"  {printable(line)}")
    ctx.exit(0 if all(answer["allowed"] for answer in answers) else 1)


def _answer(policy: "Policy", text: str) -> dict[str, Any]:
    from ramnet.policy import InvalidNameError, normalise, split_host_port

    if "/" in text:
        host = text.rpartition("://")[2].partition("/")[0]
        raise click.UsageError(
            printable(f"{text!r} is a URL or an image; ask for its registry alone, such as {host}")
        )
    try:
        host, port = split_host_port(text)
        name = normalise(host)
    except InvalidNameError as error:
        raise click.UsageError(printable(error)) from error
    verdict = policy.decide(name, port)
    return {
        "host": name,
        "port": port,
        "allowed": verdict.allowed,
        "outcome": verdict.outcome.value,
        "entry": verdict.entry,
        "local": verdict.local,
        "enforced": policy.enforced,
    }


def _describe(answer: dict[str, Any]) -> str:
    refused = "refused" if answer["enforced"] else "passes, and would be refused"
    audit = "" if answer["enforced"] else "; the policy says enforce = false"
    if answer["outcome"] == "unlisted":
        return f"{refused} (no entry allows it{audit})"
    if answer["allowed"]:
        return f"allowed by {answer['entry']}"
    return f"{refused} by {answer['entry']}{audit}"


def _explain(policy: "Policy", settings: config.Config, answer: dict[str, Any]) -> dict[str, Any]:
    """What ``-v`` adds to an answer."""
    host, port = answer["host"], answer["port"]
    return {
        "tried": [tried._asdict() for tried in policy.tried(host, port)],
        "sentence": None if answer["allowed"] else policy.sentence(host),  # as the gate, no port
        "roads": [_road(settings, scope, port) for scope in settings.scopes],
    }


def _road(settings: config.Config, scope: config.Scope, port: int | None) -> dict[str, Any]:
    """What the rules of one scope do: those in the kernel, else those that would be applied."""
    from ramnet.ruleset.grammar import GrammarError
    from ramnet.ruleset.road import roads

    road: dict[str, Any] = {"scope": scope.name, "rules": None, "steps": [], "problem": None}
    try:
        require_root("reading the rules")
        from ramnet.kernel.examination import examine
        from ramnet.kernel.uninterrupted import uninterrupted

        with uninterrupted():
            found = examine(settings, scope)
        road["rules"] = "in the kernel" if found.elements else "not there yet, as planned"
        text = found.elements or found.planned.text
        road["steps"] = [step._asdict() for step in roads(text, port)]
    except (GrammarError, RamnetError) as error:
        road["problem"] = str(error)
    return road


def _explained(answer: dict[str, Any]) -> Iterator[str]:
    yield f"name: {answer['host']}"
    for tried in answer["tried"]:
        does = "allows" if tried["allows"] else "denies"
        why = "" if tried["matches"] else ", but not this name"
        why = why or ("" if tried["on_port"] else ", but not this port")
        yield f"entry: {tried['entry']} {does}{why}"
    if not answer["tried"]:
        yield "entry: none has this name or a part of it"
    if answer["sentence"] is not None:
        yield f"sentence: {answer['sentence']}"
    for road in answer["roads"]:
        told = road["problem"] or f"rules {road['rules']}"
        yield f"way, scope {road['scope']}: {told}"
        yield from _steps(road["steps"])


def _steps(steps: list[dict[str, Any]]) -> Iterator[str]:
    """IPv6 only where it fares otherwise than IPv4, which comes before it."""
    told: tuple[str, str] | None = None
    for step in steps:
        if (step["packet"], step["fate"]) != told:
            told = step["packet"], step["fate"]
            yield f"  {step['packet']}: {step['fate']}"
            yield from (f"    {rule}" for rule in step["rules"])


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

"""``ramnet.toml``: the contract's keys, and a refusal that names the key for everything else."""

from pathlib import Path

import pytest

from ramnet import config
from ramnet.config import Exempt
from ramnet.config_values import Endpoint, parse_endpoint
from ramnet.errors import ConfigError

FULL = """
policy = "/etc/ramnet/policy.toml"
state_dir = "/var/lib/ramnet"
control_socket = "/run/ramnet/control.sock"
[[scope]]
name = "dockerd"
netns = "self"
cgroup = "ramnet.slice"
[resolver]
upstream = ["192.0.2.53"]
hosts = { "registry.corp.example" = ["10.1.2.3"] }
zones = { "corp.example" = ["10.0.0.53"] }
[proxy]
explicit = ["127.0.0.1:3128"]
explicit_clients = ["127.0.0.0/8", "::1/128"]
parent = "http://proxy.corp.example:3128"
direct = [".corp.example"]
[denial]
tls = "certificate"
[[exempt]]
uid = "chrony"
proto = "udp"
port = 123
"""
LEAST = 'policy = "/p"\n[[scope]]\nname = "a"\n'


def load(folder: Path, text: str) -> config.Config:
    (folder / "ramnet.toml").write_text(text)
    return config.load(folder / "ramnet.toml")


def test_every_key_of_the_contract(tmp_path: Path) -> None:
    found = load(tmp_path, FULL)
    assert found.scopes == [config.Scope(name="dockerd", cgroup="ramnet.slice")]
    assert found.resolver.zones == {"corp.example": ["10.0.0.53"]}
    assert found.proxy.parent == "http://proxy.corp.example:3128"
    assert found.exempt == [Exempt(uid="chrony", proto="udp", port=123)]
    assert found.run_dir == Path("/run/ramnet")


def test_only_a_policy_and_a_scope_are_needed(tmp_path: Path) -> None:
    found = load(tmp_path, LEAST)
    assert (found.scopes[0].netns, found.scopes[0].cgroup) == ("self", None)
    assert (found.state_dir, found.control_socket) == (
        "/var/lib/ramnet",
        "/run/ramnet/control.sock",
    )
    assert (found.resolver.upstream, found.proxy.explicit, found.exempt) == ([], [], [])
    assert found.proxy.explicit_clients == ["127.0.0.0/8", "::1/128"]
    assert found.denial.tls == "certificate"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "policy: this key is required"),
        ('policy = "/p"\n', "scope: this key is required"),
        ('policy = "/p"\nscope = []\n', "scope: at least one [[scope]] is needed"),
        ('polcy = "/p"\n', "polcy: unknown key"),
        ("policy = 1\n", "policy: expected `str`, got `int`"),
        ("policy\n", "line 1"),
        ('policy = "p"\n[[scope]]\nname = "a"\n', "policy: 'p' is not an absolute path"),
        (LEAST + '[[scope]]\nname = "a"\nnetns = "/x"\n', "two scopes have name 'a'"),
        (LEAST + '[[scope]]\nname = "b"\n', "two scopes have netns 'self'"),
        (LEAST + 'netns = "host"\n', "scope[0]: netns 'host' is none of"),
        (LEAST + 'netns = "pid:0"\n', "scope[0]: netns 'pid:0' is none of"),
        (LEAST + 'cgroup = "../a"\n', "scope[0]: cgroup '../a' is no path"),
        (LEAST + "uid = 1\n", "scope[0].uid: unknown key"),
        ('policy = "/p"\n[[scope]]\nname = "A b"\n', "scope[0].name: expected `str` matching"),
        ('policy = "/p"\n[[scope]]\nname = "a\\n"\n', "scope[0].name: expected `str` matching"),
        (LEAST + "[resolver]\nupstreem = []\n", "resolver.upstreem: unknown key"),
        (LEAST + '[resolver]\nupstream = ["dns.example"]\n', "resolver.upstream: 'dns.example'"),
        (LEAST + '[resolver]\nupstream = "192.0.2.1"\n', "resolver.upstream: expected `array`"),
        (LEAST + '[resolver]\nzones = {"a.example" = ["x"]}\n', "resolver.zones: 'x'"),
        (LEAST + '[resolver]\nzones = {"a.example" = []}\n', "a zone needs at least one server"),
        (LEAST + '[resolver]\nhosts = {"a.example" = ["x"]}\n', "resolver.hosts: 'x'"),
        (
            LEAST + '[proxy]\nexplicit = ["127.0.0.1"]\n',
            "proxy.explicit: '127.0.0.1' names no port",
        ),
        (LEAST + '[proxy]\nexplicit = ["127.0.0.1:0"]\n', "proxy.explicit: '127.0.0.1:0' has no"),
        (
            LEAST + '[proxy]\nexplicit_clients = ["10.0.0.1/8"]\n',
            "proxy.explicit_clients: 10.0.0.1",
        ),
        (LEAST + '[proxy]\nparent = "socks5://p:1"\n', "proxy.parent: expected http[s]://"),
        (LEAST + '[proxy]\nparent = "http://u:geheim@p:x"\n', "proxy.parent: expected http[s]://"),
        (LEAST + '[proxy]\nparent = "http://p/path"\n', "proxy.parent: expected http[s]://"),
        (
            LEAST + '[denial]\ntls = "words"\n',
            "denial.tls: invalid enum value 'words'; it is one of: certificate, alert",
        ),
        (
            LEAST + '[[exempt]]\nproto = "TCP"\n',
            "exempt[0].proto: invalid enum value 'TCP'; it is one of: tcp, udp, sctp,",
        ),
        (LEAST + '[resolver]\nhosts = {"a b" = ["192.0.2.1"]}\n', "resolver.hosts: 'a b' is not"),
        (
            LEAST + '[resolver]\nhosts = {"https://a.example" = ["192.0.2.1"]}\n',
            "resolver.hosts: 'https://a.example' is not a host name",
        ),
        (LEAST + '[resolver]\nzones = {"*.a.example" = ["192.0.2.1"]}\n', "resolver.zones: '*.a"),
        (
            LEAST + '[resolver]\nzones = {"bücher.example" = ["192.0.2.1"]}\n',
            "resolver.zones: 'bücher.example' must be written 'xn--bcher-kva.example'",
        ),
        (LEAST + '[proxy]\ndirect = ["10.0.0.0/8"]\n', "proxy.direct: '10.0.0.0/8' is not"),
        (LEAST + '[proxy]\ndirect = [".a.example."]\n', "proxy.direct: 'a.example.' must be"),
        (LEAST + '[session]\nallow = ["https://a.example/"]\n', "session.allow: 'https://a"),
        (f"{LEAST.replace('/p', 'https://p.example')}\n", "toml: trust.root: a policy from a URL"),
        (LEAST + "[[exempt]]\n", "exempt[0]: an exemption names"),
        (LEAST + '[[exempt]]\nproto = "udp"\n', "exempt[0]: an exemption names"),
        (LEAST + "[[exempt]]\nport = 53\n", "exempt[0]: a port needs proto"),
        (LEAST + "[[exempt]]\nport = 0\n", "exempt[0].port: expected `int` >= 1"),
        (LEAST + '[[exempt]]\naddress = "a"\n', "exempt[0].address: 'a'"),
        (LEAST + "[[exempt]]\nuid = -1\n", "exempt[0]: uid -1 is out of range"),
        (LEAST + '[metrics]\nlisten = "9609"\n', "metrics.listen: '9609' does not appear"),
        (LEAST + '[metrics]\nlisten = "127.0.0.1"\n', "metrics.listen: '127.0.0.1' names no port"),
        (
            LEAST + '[metrics]\nlisten = "0.0.0.0:9609"\n',
            "metrics.listen: '0.0.0.0:9609' is neither",
        ),
        (LEAST + '[metrics]\nlisten = "[2001:db8::1]:9609"\n', "is neither on loopback nor an"),
        (LEAST + '[metrics]\nlistn = "a"\n', "metrics.listn: unknown key; did you mean 'listen'?"),
        (LEAST + f'[metrics]\nlisten = "/{"x" * 120}"\n', "metrics.listen: longer than 107 bytes"),
        (f'control_socket = "/{"x" * 120}"\n' + LEAST, "control_socket: longer than 107 bytes"),
    ],
)
def test_a_refusal_names_file_and_key(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, text)
    assert str(refused.value).startswith(f"{tmp_path}/ramnet.toml: ")
    assert says in str(refused.value)
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize("where", ["127.0.0.1:9609", "[::1]:9609", "/run/ramnet/metrics.sock"])
def test_where_metrics_may_be_served(tmp_path: Path, where: str) -> None:
    assert load(tmp_path, LEAST + f'[metrics]\nlisten = "{where}"\n').metrics.listen == where


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none: No such file"):
        config.load(tmp_path / "none")
    with pytest.raises(ConfigError, match="Is a directory"):
        config.load(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="binary: "):
        config.load(tmp_path / "binary")


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("192.0.2.1", Endpoint("192.0.2.1", 53)),
        ("192.0.2.1:5353", Endpoint("192.0.2.1", 5353)),
        ("2001:DB8::1", Endpoint("2001:db8::1", 53)),
        ("[2001:db8::1]", Endpoint("2001:db8::1", 53)),
        ("[2001:db8::1]:5353", Endpoint("2001:db8::1", 5353)),
    ],
)
def test_endpoints(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text, 53) == endpoint


@pytest.mark.parametrize("text", ["", ":53", "a:53", "192.0.2.1:", "192.0.2.1:65536", "[]:1", "1"])
def test_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(ValueError):
        parse_endpoint(text, 53)


@pytest.mark.parametrize(
    ("first", "second", "fault"),
    [
        ('cgroup = "one"', 'cgroup = "two"', None),
        ('cgroup = "one"', 'cgroup = "one.more"', None),
        ('cgroup = "one"', 'cgroup = "one"\nnetns = "pid:1"', None),
        ('cgroup = "one"', "", "only if each has a cgroup"),
        ('cgroup = "one"', 'cgroup = "one/below"', "overlap"),
        ('cgroup = "one"', 'cgroup = "/one/"', "overlap"),
    ],
)
def test_scopes_of_one_namespace(
    tmp_path: Path, first: str, second: str, fault: str | None
) -> None:
    text = f'policy = "/p"\n[[scope]]\nname = "a"\n{first}\n[[scope]]\nname = "b"\n{second}\n'
    if fault is None:
        assert len(load(tmp_path, text).scopes) == 2
        return
    with pytest.raises(ConfigError, match=fault):
        load(tmp_path, text)


def test_names_that_would_be_one_table(tmp_path: Path) -> None:
    text = LEAST.replace('"a"', '"a-b"') + '[[scope]]\nname = "a_b"\nnetns = "pid:1"\n'
    with pytest.raises(ConfigError, match="two scopes have name"):
        load(tmp_path, text)

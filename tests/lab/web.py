"""nginx of inet: TLS before the registries, static files, git over smart HTTP, and all the rest."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.lab.addresses import (
    CDN,
    FILES_ALLOWED,
    FILES_BLOCKED,
    GIT_ALLOWED,
    GIT_BLOCKED,
    POLICY_SERVER,
    Site,
)
from tests.lab.certificates import Authority, KeyPair
from tests.lab.host import Host
from tests.lab.registry import Registry

#: Every server answers on these, over both families; 853 so that DNS over TLS has a peer.
TLS_PORTS = (443, 853, 5000)

#: What the file servers give at /hello.txt, apart from the name of the server.
HELLO = "hello from {name}\n"

_FRAME = """
daemon off;
user root;
worker_processes 2;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    log_format lab '$host $server_port "$request" $status';
    access_log {directory}/access.log lab;
    client_max_body_size 0;
    proxy_request_buffering off;
    proxy_buffering off;
    types {{ application/octet-stream bin; text/plain txt; }}
    {temporary}
    {servers}
}}
"""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
_SERVER = """
    server {{
        {listen}
        server_name {name};
        ssl_certificate {pair.certificate};
        ssl_certificate_key {pair.key};
        {body}
    }}
"""
_PROXY = """location / {{
            proxy_pass http://127.0.0.1:{port};
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}"""
_GIT = """location / {{
            fastcgi_pass unix:{socket};
            fastcgi_param SCRIPT_FILENAME /usr/lib/git-core/git-http-backend;
            fastcgi_param GIT_PROJECT_ROOT {root};
            fastcgi_param GIT_HTTP_EXPORT_ALL 1;
            fastcgi_param PATH_INFO $uri;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param CONTENT_TYPE $content_type;
            fastcgi_param CONTENT_LENGTH $content_length;
            fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding;
            fastcgi_param HTTP_GIT_PROTOCOL $http_git_protocol;
        }}"""


class WebServer:
    """One nginx with a virtual server for each site and one for every other name.

    Attributes:
        roots: where the file servers' documents lie, by name; put files there to serve them.
    """

    def __init__(self, host: Host, authority: Authority, registries: Iterable[Registry]) -> None:
        self._host = host
        self._authority = authority
        self._directory = host.directory / "web"
        self._directory.mkdir()
        self.roots: dict[str, Path] = {}
        servers = [self._other_names()]
        for registry in registries:
            servers.append(self._server(registry.site.name, _PROXY.format(port=registry.port)))
            if registry.blobs_redirected:
                servers.append(self._server(CDN.name, f"root {registry.storage};"))
        servers += [self._files(site) for site in (FILES_ALLOWED, FILES_BLOCKED, POLICY_SERVER)]
        servers += self._git((GIT_ALLOWED, GIT_BLOCKED))
        path = self._directory / "nginx.conf"
        temporary = " ".join(f"{k}_temp_path {self._directory}/{k};" for k in _TEMPORARY)
        path.write_text(
            _FRAME.format(directory=self._directory, temporary=temporary, servers="".join(servers))
        )
        self._nginx = host.start(["nginx", "-e", "stderr", "-c", str(path)], log="nginx")

    def wait_ready(self) -> None:
        self._host.wait_listening(443, self._nginx)

    def requests(self) -> list[str]:
        """The access log: `host port "request" status`, one line for each finished request."""
        return (self._directory / "access.log").read_text().splitlines()

    def _server(self, name: str, body: str, *, default: bool = False) -> str:
        pair: KeyPair = self._authority.issue(name)
        mark = " default_server" if default else ""
        listen = [
            f"listen {at}{port} ssl http2{mark};" for port in TLS_PORTS for at in ("", "[::]:")
        ]
        listen += [f"listen {at}80{mark};" for at in ("", "[::]:")]
        return _SERVER.format(listen=" ".join(listen), name=name, pair=pair, body=body)

    def _other_names(self) -> str:
        return self._server("anywhere.example", "return 200 'you reached inet\\n';", default=True)

    def _files(self, site: Site) -> str:
        root = self._directory / site.name
        root.mkdir()
        (root / "hello.txt").write_text(HELLO.format(name=site.name))
        self.roots[site.name] = root
        return self._server(site.name, f"root {root};")

    def _git(self, sites: Iterable[Site]) -> list[str]:
        root = self._directory / "git"
        root.mkdir()
        socket = self._directory / "fcgiwrap.socket"
        self._host.run(["sh", "-ec", _MAKE_REPOSITORY.format(root=root)]).check()
        self._host.start(["fcgiwrap", "-c", "2", "-s", f"unix:{socket}"], log="fcgiwrap")
        return [self._server(site.name, _GIT.format(socket=socket, root=root)) for site in sites]


#: A build context at /context.git: `FROM scratch` needs no registry.
_MAKE_REPOSITORY = """
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=lab GIT_AUTHOR_EMAIL=lab@inet.example
export GIT_COMMITTER_NAME=lab GIT_COMMITTER_EMAIL=lab@inet.example
git init --quiet --initial-branch=master {root}/work
cd {root}/work
printf 'FROM scratch\\nCOPY Dockerfile /Dockerfile\\n' >Dockerfile
git add Dockerfile
git commit --quiet --message=context
git clone --quiet --bare {root}/work {root}/context.git
"""

"""A real dockerd in the vm and the docker client that talks to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tests.lab.host import Host
from tests.lab.processes import LabError, Process, Result, notify

#: Found on a host's own short PATH: another client in /usr/local does not count.
CLIENT = "docker"
DAEMON = "dockerd"


class Docker:
    """One dockerd; a second one beside it needs another name and has no network of its own.

    Attributes:
        name: "docker" is found by a bare `docker` typed in the vm.
        process: the running dockerd, None when it is stopped.
    """

    def __init__(self, vm: Host, name: str = "docker", *, cgroup: str) -> None:
        self.vm = vm
        self.name = name
        self.process: Process | None = None
        self._cgroup = cgroup
        self._directory = vm.directory / name
        self._data = self._directory / "data"
        self._data.mkdir(parents=True)
        self._client_environment = {
            "DOCKER_HOST": f"unix:///run/{name}.sock",
            "DOCKER_CONFIG": str(self._directory / "client"),
            "DOCKER_CLI_HINTS": "false",
        }

    def start(
        self,
        *,
        config: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        seconds: float = 45,
    ) -> None:
        """Start dockerd with further daemon.json keys and variables, and wait until it serves.

        `environment` is where HTTPS_PROXY and HTTP_PROXY go; `prefix` is what starts it.
        """
        if self.process is not None:
            raise LabError(f"{self.name} runs already")
        path = f"/etc/docker/{self.name}.json"
        self.vm.write(path, json.dumps(self._configuration() | dict(config or {})))
        with notify(self._directory / "notify") as ready:
            self.process = self.vm.start(
                [*prefix, DAEMON, "--config-file", path],
                log=self.name,
                environment={"NOTIFY_SOCKET": str(ready.path)} | dict(environment or {}),
            )
            ready.wait_ready(self.process, seconds)

    def _configuration(self) -> dict[str, object]:
        first = self.name == "docker"
        return {
            "hosts": [f"unix:///run/{self.name}.sock"],
            "data-root": str(self._data),
            "exec-root": f"/run/{self.name}",
            "pidfile": f"/run/{self.name}.pid",
            "cgroup-parent": f"/{self._cgroup}",
            # No systemd serves this host, whatever the machine has.
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "shutdown-timeout": 1,
            "features": {"buildkit": False},  # the client asks for BuildKit where it is wanted
        } | ({} if first else {"bridge": "none", "iptables": False, "ip-masq": False})

    def stop(self) -> None:
        """Stop dockerd with its containers; images stay."""
        if self.process is not None:
            self.process.stop(20)
            self.process = None

    def restart(
        self,
        *,
        config: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.stop()
        self.start(config=config, environment=environment)

    def run(
        self,
        *arguments: str,
        stdin: str = "",
        seconds: float = 60,
        environment: Mapping[str, str] | None = None,
    ) -> Result:
        """Run the docker client in the vm."""
        variables = self._client_environment | dict(environment or {})
        return self.vm.run(
            [CLIENT, *arguments], stdin=stdin, seconds=seconds, environment=variables
        )

    def login(self, registry: str, user: str, password: str) -> Result:
        return self.run("login", "--username", user, "--password-stdin", registry, stdin=password)

    def build(self, dockerfile: str, *, tag: str = "built", buildkit: bool = False) -> Result:
        """Build a Dockerfile without other context files, and without the build cache."""
        options = ["--no-cache", "--tag", tag]
        if buildkit:
            options += ["--progress", "plain"]
        return self.run("build", *options, "-", stdin=dockerfile, environment=self.kit(buildkit))

    def build_from(self, context: str, *, buildkit: bool = False) -> Result:
        """Build a context by its URL: git, or a tar archive."""
        return self.run("build", "--no-cache", context, environment=self.kit(buildkit))

    @staticmethod
    def kit(buildkit: bool) -> dict[str, str]:
        """The environment that chooses the builder."""
        return {"DOCKER_BUILDKIT": "1" if buildkit else "0"}

    def forget(self) -> None:
        """Remove all containers, images, build caches and log-ins."""
        if containers := self.run("ps", "--all", "--quiet").check().out.split():
            self.run("rm", "--force", *containers).check()
        self.run("system", "prune", "--all", "--force").check()
        self.vm.run(["rm", "-rf", self._client_environment["DOCKER_CONFIG"]]).check()

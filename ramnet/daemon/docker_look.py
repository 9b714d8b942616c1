"""How every dockerd here is configured, as far as it decides what can be enforced."""

import asyncio
from collections.abc import Callable
from typing import Final

from ramnet.caveats.embedded_dns import shared_dns
from ramnet.caveats.facts import DockerDaemon, DockerProxy
from ramnet.caveats.proxies import unknown_proxies
from ramnet.config import Config

LOOK: Final = 10.0
"""Seconds between two looks."""


class DockerLook:
    """Looks again and again, and tells what is new.

    Attributes:
        problems: what is wrong now, for a person.
    """

    def __init__(
        self,
        config: Config,
        proxies: Callable[[], list[DockerProxy]],
        daemons: Callable[[], list[DockerDaemon]],
        tell: Callable[[str], None],
    ) -> None:
        """``proxies`` and ``daemons`` may block; they are called in a thread."""
        self._config, self._proxies, self._daemons, self._tell = config, proxies, daemons, tell
        self.problems: list[str] = []

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                problems = await self._look()
            except OSError as error:
                problems = [f"how dockerd is configured cannot be seen: {error.strerror}"]
            for problem in problems:
                if problem not in self.problems:
                    self._tell(problem)
            self.problems = problems
            await asyncio.sleep(LOOK)

    async def _look(self) -> list[str]:
        proxies = await asyncio.to_thread(self._proxies)
        daemons = await asyncio.to_thread(self._daemons)
        return [
            *unknown_proxies(proxies, self._config.proxy),
            *shared_dns(daemons, self._config.resolver),
        ]

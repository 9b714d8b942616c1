"""What the gates are told, by who is signed in: the policy, nothing at all, or no restriction.

The policy's keeper goes on as if there were no session; what it puts in force is remembered here,
and handed on when the session allows it.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec

from ramnet.daemon import memfd
from ramnet.daemon.signed_policy import Install

Mode = Literal["policy", "closed", "unrestricted"]
_UNRESTRICTED: Final = b'{"enabled": false}'  # Docker's own words for it
Compile = Callable[[int, str], Awaitable[int]]


class Admission:
    """Stands between the policy's keeper and the gates."""

    def __init__(self, install: Install, compile_: Compile, allow: list[str]) -> None:
        """``allow`` are hosts that signing in needs."""
        self._install, self._compile, self._allow = install, compile_, allow
        self._blob: int | None = None
        self._reason, self._notice = "ramnet is starting", ""
        self._mode: Mode = "policy"
        self._words, self._organization = "", ""
        self._busy = asyncio.Lock()

    @property
    def mode(self) -> Mode:
        """What holds now."""
        return self._mode

    async def install(self, blob: int | None, reason: str, notice: str = "") -> None:
        """As ``Adoption.install``; handed on as the mode says. ``blob`` is duplicated."""
        async with self._busy:
            if self._mode == "policy":
                await self._install(blob, reason, notice)
            before, self._blob = self._blob, None if blob is None else os.dup(blob)
            self._reason, self._notice = reason, notice
            if before is not None:
                os.close(before)

    async def follow_policy(self) -> None:
        """Let the policy be in force."""
        async with self._busy:
            if self._mode != "policy":
                self._mode = "policy"
                await self._install(self._blob, self._reason, self._notice)

    async def close(self, words: str, organization: str) -> None:
        """Refuse everything at once, with these words; then let pass what signing in needs."""
        async with self._busy:
            if (self._mode, self._words) == ("closed", words):
                return
            self._mode, self._words, self._organization = "closed", words, organization
            await self._install(None, words)
            await self._install_document(self._sign_in_document())

    async def lift(self) -> None:
        """Restrict nothing: nobody is signed in, and the configuration wants it so."""
        async with self._busy:
            if self._mode != "unrestricted":
                await self._install_document(_UNRESTRICTED)
                self._mode = "unrestricted"

    def _sign_in_document(self) -> bytes:
        return msgspec.json.encode(
            {
                "organization": self._organization,
                "contact": self._words,
                "docker_hub": False,
                "registry": [{"host": host} for host in self._allow],
            }
        )

    async def _install_document(self, document: bytes) -> None:
        fd = memfd.create("document")
        try:
            os.write(fd, document)
            memfd.seal(fd)
            blob = await self._compile(fd, "session")
        finally:
            os.close(fd)
        try:
            await self._install(blob, "")
        finally:
            os.close(blob)

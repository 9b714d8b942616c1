"""The session of the person at this machine: begun by a token, ended by word or by time."""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from ramnet.config import Config, Session
from ramnet.daemon import freshness
from ramnet.daemon.admission import Admission
from ramnet.daemon.fetch_order import Order
from ramnet.daemon.fetching import TIME_LIMIT, Fetched, WayOut, send
from ramnet.daemon.kept import open_kept, remove_kept, write_whole
from ramnet.errors import ConfigError, PolicyError, RamnetError
from ramnet.trust.files import read
from ramnet.trust.session import MAX_TOKEN, Claims, Rules, TokenError

SESSION: Final = "session"
"""Token and keys, in the state directory."""
LOOK: Final = 0.5
"""Seconds between two looks at whether the session has ended by time."""
FILES_LOOK: Final = 10.0
"""Seconds between two looks at the files that signing in needs."""
_MAX_KEPT: Final = 2 << 20


class _Wanted(msgspec.Struct, forbid_unknown_fields=True):
    token: str


class SessionKeeper:
    """Who is signed in, and what the gates are told of it."""

    def __init__(
        self,
        config: Config,
        admission: Admission,
        *,
        use_groups: Callable[[tuple[str, ...]], Awaitable[None]],
        way_out: Callable[[], WayOut | None],
        tell: Callable[[str], None],
    ) -> None:
        """``use_groups`` is told of the groups of whoever is signed in, none without."""
        self._config, self._settings, self._admission = config, config.session, admission
        self._use_groups, self._way_out, self._tell = use_groups, way_out, tell
        self._file = Path(config.state_dir) / SESSION
        self.claims: Claims | None = None
        self._problem: str | None = None
        """Why nobody could sign in."""
        self._busy = asyncio.Lock()
        self._fetching = asyncio.Lock()
        """Apart: who signs in while the keys are slow to come keeps no session from ending."""

    async def start(self) -> None:
        """Take up the session of before the start, if its token is still good."""
        try:
            await self._resume()
        except (RamnetError, OSError) as error:
            self._tell(f"session ended: {error}")
        await self._follow()

    async def watch(self) -> None:
        """End the session in time, for ever."""
        looked = 0.0
        while True:
            await asyncio.sleep(LOOK)
            if time.monotonic() - looked > FILES_LOOK:
                await self._look_at_files()
                looked = time.monotonic()
            if self._has_expired():
                async with self._busy:
                    if self._has_expired():  # else somebody has signed in meanwhile
                        await self._end("it has expired")

    def _has_expired(self) -> bool:
        return self.claims is not None and time.time() >= self.claims.expires

    async def sign_in(self, body: bytes) -> dict[str, Any]:
        """Begin a session. Raises TokenError, ConfigError or PolicyError, and changes nothing."""
        try:
            token = msgspec.json.decode(body, type=_Wanted).token.strip()
        except msgspec.DecodeError:
            raise TokenError('the body is not {"token": TOKEN}') from None
        if not token or len(token) > MAX_TOKEN:
            raise TokenError("there is no token, or it is too long")
        async with self._fetching:
            keys, url = await asyncio.to_thread(_keys_or_url, self._settings)
            fetched = await self._send(self._order(token, keys, url))
        async with self._busy:
            await self._begin(fetched, keep=True)
        return self.describe()

    async def sign_out(self) -> dict[str, Any]:
        """End the session; answers when the gates have been told."""
        async with self._busy:
            await self._end("signed out")
        return self.describe()

    def describe(self) -> dict[str, Any]:
        """For ``ramnet status``."""
        claims = self.claims
        return {
            "state": "signed-in" if claims else "signed-out",
            "enforce": self._settings.enforce,
            "subject": claims.subject if claims else None,
            "organizations": claims.organizations if claims else [],
            "groups": claims.groups if claims else [],
            "expires": freshness.until(claims.expires) if claims else None,
            "expires_at": freshness.moment(claims.expires) if claims else None,
            "allowed_orgs": self._allowed_or_none(),
        }

    def warnings(self) -> list[str]:
        """What is wrong or open, for a person."""
        found = [] if self._problem is None else [f"nobody can sign in: {self._problem}"]
        if self._admission.mode == "closed":
            found.append(f"nothing is reachable: {self._words()}")
        if self._admission.mode == "unrestricted":
            found.append("nothing is restricted: nobody is signed in ([session] absent)")
        return found

    async def _look_at_files(self) -> None:
        """Say it when they break, not when the first person finds out."""
        if not self._settings.enforce:
            return
        try:
            await asyncio.to_thread(_keys_or_url, self._settings)
            await asyncio.to_thread(allowed_organizations, self._config)
            problem = None
        except RamnetError as error:
            problem = str(error)
        if problem is not None and problem != self._problem:
            self._tell(f"nobody can sign in: {problem}")
        self._problem = problem

    async def _resume(self) -> None:
        kept = await asyncio.to_thread(open_kept, self._file, _MAX_KEPT)
        if kept is None:
            return
        try:
            # A clock that is behind before NTP makes nothing younger than when it was kept.
            now = max(time.time(), self._file.lstat().st_mtime)
            order = msgspec.structs.replace(self._order("", b"", ""), now=now)
            await self._begin(await self._send(order, kept=kept))
        finally:
            os.close(kept)

    async def _begin(self, fetched: Fetched, *, keep: bool = False) -> None:
        try:
            claims = fetched.report.claims
            if claims is None:
                raise TokenError(fetched.report.error or "the token was not verified")
            self._check_organization(claims)
            if keep:
                await self._keep(fetched.bundle)
        finally:
            fetched.close()
        self.claims = claims
        self._tell(f"signed in: {claims.subject} of {', '.join(claims.organizations) or 'nowhere'}")
        await self._follow()

    async def _end(self, why: str) -> None:
        if self.claims is not None:
            self._tell(f"session ended: {why}")
        self.claims = None
        await self._forget()
        await self._follow()

    async def _forget(self) -> None:
        """What cannot be removed must not keep the session open; it is told."""
        try:
            await asyncio.to_thread(remove_kept, self._file)
        except OSError as error:
            self._tell(
                f"cannot remove {self._file}: {error.strerror}; remove it, or the session is "
                "back after a restart"
            )

    async def _follow(self) -> None:
        """Closing comes before anything that takes time; opening after the groups' policies."""
        if self.claims is None and self._settings.enforce:
            await self._admission.close(self._words(), self._organization())
        await self._use_groups(tuple(self.claims.groups) if self.claims else ())
        if self.claims is not None or not self._settings.enforce:
            if self.claims is None and self._settings.absent == "unrestricted":
                await self._admission.lift()
            else:
                await self._admission.follow_policy()

    def _words(self) -> str:
        allowed = self._allowed_or_none()
        whom = f" to {' or '.join(allowed)}" if allowed else ""
        return f"Sign in{whom} first, in Docker Desktop or with: ramnet sign-in"

    def _organization(self) -> str:
        return (self._allowed_or_none() or ["Your organization"])[0]

    def _allowed_or_none(self) -> list[str]:
        try:
            return allowed_organizations(self._config)
        except ConfigError:
            return list(self._settings.allowed_orgs)

    def _check_organization(self, claims: Claims) -> None:
        allowed = allowed_organizations(self._config)
        if allowed and not set(allowed) & set(claims.organizations):
            raise TokenError(
                f"{claims.subject} is in none of the allowed organizations: {', '.join(allowed)}"
            )

    async def _send(self, order: Order, *, kept: int | None = None) -> Fetched:
        way = self._way_out() if order.url else None
        if order.url and way is None:
            raise PolicyError("no scope is there yet, so there is no way to the keys")
        return await send(order, kept=kept, way=way)

    def _order(self, token: str, keys: bytes, url: str) -> Order:
        settings = self._settings
        return Order(
            task="token",
            url=url,
            root=keys,
            groups=[],
            now=time.time(),
            seconds=TIME_LIMIT,
            ca=self._config.trust.ca,
            token=token,
            rules=Rules(
                settings.issuer or "",
                settings.audience or "",
                settings.algorithms,
                settings.organizations_claim,
                settings.groups_claim,
            ),
        )

    async def _keep(self, session: int) -> None:
        """Without room for it, the session ends with the service."""
        try:
            await asyncio.to_thread(write_whole, self._file, session)
        except OSError as error:
            self._tell(f"cannot keep the session in {self._file}: {error.strerror}")


def _keys_or_url(settings: Session) -> tuple[bytes, str]:
    """The issuer's keys, or where they are to be had. Raises ConfigError or RamnetError."""
    if settings.jwks is None:
        raise ConfigError("[session] jwks is not set, so no token can be verified")
    if settings.jwks.startswith("https://"):
        return b"", settings.jwks
    return read(Path(settings.jwks)), ""


def allowed_organizations(config: Config) -> list[str]:
    """Of ``allowed_orgs`` and of Docker's own file. Raises ConfigError where that is broken."""
    allowed = list(config.session.allowed_orgs)
    if config.session.registry_json is None:
        return allowed
    path = Path(config.session.registry_json)
    try:
        found = json.loads(read(path))["allowedOrgs"]
        if not (isinstance(found, list) and all(isinstance(name, str) for name in found)):
            raise ValueError('"allowedOrgs" is no list of names')
    except (ValueError, KeyError, TypeError, RamnetError) as error:
        raise ConfigError(f"{path}: is not Docker's registry.json: {error}") from error
    return list(dict.fromkeys([*allowed, *found]))

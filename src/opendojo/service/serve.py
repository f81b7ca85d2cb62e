"""`opendojo serve`: the loop and the API in one process, on loopback unless told otherwise."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import select

from opendojo.service.admission import Policy
from opendojo.service.cluster import RayLauncher, SlurmLauncher
from opendojo.service.database import Database, address_of, alone, migrate, now_ms
from opendojo.service.forecast import Machine
from opendojo.service.launcher import Launcher
from opendojo.service.local import LocalLauncher
from opendojo.service.logs import install
from opendojo.service.manager import Manager
from opendojo.service.models import Audit, Tenant, User
from opendojo.service.tenants import ROLES, make_tenant, make_token, make_user

if TYPE_CHECKING:
    from opendojo.service.oidc import Provider

__all__ = ["Serving", "check_bind", "first_token", "operators_token", "serve"]

_log = logging.getLogger("opendojo.service")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How the service runs."""

    root: Path
    """Folder of the database (where none is named) and the jobs' files."""
    chips: int
    host: str = "127.0.0.1"
    port: int = 8077
    database: str = ""
    """SQLAlchemy's address; SQLite in `root` by default."""
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False
    """Listen beyond loopback without TLS, such as behind a proxy that has it."""
    program: tuple[str, ...] = ()
    """What runs a job's words; `opendojo` by default."""
    backend: Literal["local", "slurm", "ray"] = "local"
    ray_address: str = ""
    """The Ray cluster's address, such as http://127.0.0.1:8265."""
    machine: str = ""
    """What the chips are, for plans: a pod or chip that `opendojo machine chips` knows."""
    issuer: str = ""
    """The identity provider's issuer (OpenID Connect), where members may log in by one."""
    audience: str = ""
    """The client id that the provider knows this service by."""
    tick_s: float = 0.5


def check_bind(serving: Serving) -> None:
    """Raise ValueError where tokens would travel in the clear."""
    if (serving.certificate is None) != (serving.key is None):
        raise ValueError("TLS needs both a certificate and its key")
    if serving.host not in _LOOPBACK and serving.certificate is None and not serving.insecure:
        raise ValueError(
            f"{serving.host} is not loopback: give a certificate and key, or --insecure behind a "
            "proxy that has TLS"
        )


def first_token(database: Database) -> str | None:
    """Make the first organisation and its operator's token; None where there is one already."""
    with database.writing() as session:
        if session.scalars(select(Tenant.id).limit(1)).first() is not None:
            return None
        tenant = make_tenant(session, "first")
        user = make_user(session, tenant.id, "admin", "operator")
        return make_token(session, user, ROLES["operator"], now_ms(), 30 * 86400)[0]


def operators_token(address: str, organisation: str, name: str, lifetime_s: int) -> str:
    """A member's token, made by who may open the database: the way back in where all expired.

    Raises ValueError where there is no such member, or one of the two was removed.
    """
    database = Database(address)
    try:
        with database.writing() as session:
            query = select(User, Tenant).join(Tenant, Tenant.id == User.tenant_id)
            query = query.where(Tenant.name == organisation, User.name == name)
            query = query.where(Tenant.removed_ms.is_(None), User.removed_ms.is_(None))
            row = session.execute(query).one_or_none()
            if row is None:
                raise ValueError(f"there is no member {name!r} of an organisation {organisation!r}")
            user, tenant = row
            at_ms = now_ms()
            secret, token = make_token(session, user, ROLES[user.role], at_ms, lifetime_s)
            session.add(Audit(tenant_id=tenant.id, user_id=user.id, at_ms=at_ms,
                              action="new token at the machine", subject=token.id))  # fmt: skip
            return secret
    finally:
        database.close()


def serve(serving: Serving, told: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; jobs go on running. `told` gets the first token, once.

    Raises ValueError for a bind without TLS, or where another server has the folder.
    """
    import uvicorn

    from opendojo.service.app import make_app

    check_bind(serving)
    install()
    provider = _provider(serving)
    machine = Machine.named(serving.machine)
    serving.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with alone(serving.root / "server.lock"):
        address = address_of(serving.root, serving.database)
        migrate(address)
        database = Database(address)
        if (secret := first_token(database)) is not None:
            told(secret)
        launcher = _launcher(serving)
        manager = Manager(
            database, launcher, serving.root.resolve(), serving.chips, Policy(), machine=machine
        )
        stop = threading.Event()
        loop = threading.Thread(target=_loop, args=(manager, stop, serving.tick_s), daemon=True)
        loop.start()
        try:
            uvicorn.run(
                make_app(manager, provider=provider),
                host=serving.host,
                port=serving.port,
                ssl_certfile=serving.certificate,
                ssl_keyfile=serving.key and str(serving.key),
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=3,
            )
        finally:
            stop.set()
            loop.join(timeout=10)
            database.close()


def _provider(serving: Serving) -> Provider | None:
    if not serving.issuer:
        return None
    try:
        from opendojo.service.oidc import Provider
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is missing: pip install 'opendojo[service]'") from None
    return Provider(serving.issuer, serving.audience)


def _launcher(serving: Serving) -> Launcher:
    if serving.backend == "local":
        return LocalLauncher(serving.program) if serving.program else LocalLauncher()
    if serving.backend == "slurm":
        return SlurmLauncher()
    if not serving.ray_address:
        raise ValueError("the backend ray needs the cluster's address")
    return RayLauncher(serving.ray_address)


def _loop(manager: Manager, stop: threading.Event, tick_s: float) -> None:
    while not stop.wait(tick_s):
        try:
            manager.tick()
        except Exception:
            _log.exception("the loop stumbled; it goes on")

"""Security: the version, who can read what is on the way, and who may come in. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from valtier.doctor.knock import Way
from valtier.doctor.needs import Need
from valtier.doctor.probes import Findings
from valtier.doctor.verdict import Check, advice, ok, unknown, wrong
from valtier.wire import Address
from valtier.wire.handshake import Server

_OLDEST = (7, 0)
_SOON = timedelta(days=21)


def version(server: Server) -> Check:
    """What it is, and whether valtier's features work with it."""
    name = "version"
    numbers = {
        "server": server.name,
        "version": ".".join(map(str, server.version)),
        "protocol": server.protocol,
    }
    if not server.version:
        return unknown(name, "it does not tell its version", "allow +info", **numbers)
    if server.version < _OLDEST:
        change = (
            "use Valkey 7.2 or newer, or Redis 7.0: older ones lack sharded pub/sub (presence and Socket.IO), PEXPIRETIME "
            "(codes) and SET with NX and GET together (the cache's leases)"
        )
        return wrong(name, f"{server}, older than 7.0", change, **numbers)
    if server.protocol != 3:
        change = "let HELLO 3 through (a proxy, or protocol=2 in the URL, prevents it): without RESP3 no process keeps anything"
        return advice(name, f"{server} by RESP2", change, **numbers)
    fallback = "" if server.version >= (9,) else "; scripts stand in for what Valkey 9 has commands for"
    return ok(name, f"{server}{fallback}", **numbers)


def encryption(address: Address, way: Way, now: datetime) -> Check:
    """Whether others on the way can read and change what is sent."""
    name = "tls"
    numbers = {
        "tls": way.tls,
        "same_host": way.same_host,
        "expires": way.expires.isoformat() if way.expires else None,
    }
    if address.tls is None:
        if way.same_host:
            return ok(name, "no TLS, and nothing leaves this machine", **numbers)
        change = (
            "give Valkey a certificate (tls-port, tls-cert-file, tls-key-file) and begin the URL with rediss://: password, "
            "sessions and pages can be read by anybody on the way"
        )
        return wrong(name, "no TLS, and the server is another machine", change, **numbers)
    if not address.tls.verify:
        change = "leave tls_verify=false out, and give the authority's file as tls_ca: anybody can pose as the server"
        return wrong(name, f"{way.tls}, and the certificate is not verified", change, **numbers)
    if way.expires is not None and way.expires - now < _SOON:
        days = (way.expires - now).days
        return advice(name, f"{way.tls}; the certificate expires in {days} days", "renew it", **numbers)
    if not address.tls.check_hostname:
        change = (
            "leave tls_check_hostname=false out: any host that the authority knows can pose as the server"
        )
        return advice(name, f"{way.tls}, and the host's name is not checked", change, **numbers)
    until = f"; the certificate is good until {way.expires:%Y-%m-%d}" if way.expires else ""
    return ok(name, f"{way.tls}, verified{until}", **numbers)


def sign_in(
    user: str, rules: Mapping[str, str] | None, *, open_to_all: bool | None, same_host: bool
) -> Check:
    """Who comes in. `rules`: what ACL GETUSER tells of the user; `open_to_all`: whether no password is needed to read."""
    name = "password"
    numbers = {"user": user, "anonymous": open_to_all}
    if open_to_all:
        change = (
            "give the default user a password (requirepass), or turn it off: ACL SETUSER default off. "
            "Anybody who reaches the port reads sessions and writes into the cache"
        )
        where = "on this machine" if same_host else "in the network"
        return wrong(name, f"anybody {where} comes in without a password", change, **numbers)
    if open_to_all is None:
        return unknown(
            name, f"signed in as {user}", "whether others need a password could not be tried", **numbers
        )
    found = f"signed in as {user}; nobody comes in without a password"
    if rules is not None and "+@all" in rules.get("commands", "").split():
        change = "sign in as a user with these features' rights only: the ACL line below makes one"
        return advice(name, f"{found}; the user may do everything", change, **numbers)
    if user == "default":
        return advice(
            name, found, "give the application a user of its own: the ACL line below makes one", **numbers
        )
    return ok(name, found, **numbers)


def rights(user: str, found: Findings, needed: list[Need]) -> Check:
    """Whether the user may do what the features need."""
    name = "rights"
    numbers = {"user": user, "by": found.by, "missing": found.missing, "untold": found.untold}
    if found.missing:
        lacking = "; ".join(f"{feature}: {', '.join(what)}" for feature, what in found.missing.items())
        change = f"grant it: ACL SETUSER {user} {' '.join(found.rules)}"
        return wrong(name, f"{user} may not do what is needed. {lacking}", change, **numbers)
    features = ", ".join(need.feature for need in needed if need.feature != "connection")
    if found.untold:
        several = sorted({what for each in found.untold.values() for what in each})
        why = f"allow +acl|dryrun, or leave --read-only out, to tell about {', '.join(several)}"
        return unknown(name, f"{user} may do what was tried for {features}", why, **numbers)
    return ok(name, f"{user} may do all that {features} need", **numbers)

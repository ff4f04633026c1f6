"""Rights: what FluxStudio's user of Valkey may do, and nothing else."""

from __future__ import annotations

from valtier.doctor import acl_line, needs

_ANY = "flux:installation"


def rules(prefix: str) -> list[str]:
    """Returns the rules of the user, after `-@all`: the patterns of keys and channels, and commands, as `valtier doctor` says."""
    words = acl_line(needs(prefix)).split()
    return [word for word in words if word[0] in "~&+"]


def users_file() -> str:
    """Returns deploy/users.acl: the studio on any database, and whoever looks whether the server lives."""
    granted = " ".join(rules(_ANY)).replace(_ANY, "flux:*")
    return (
        "user default reset off -@all\n"
        f"user studio reset on #PASSWORD_SHA256 -@all {granted}\n"
        "user health reset on >health -@all +ping\n"
        "user operator reset off #PASSWORD_SHA256 ~* &* +@all\n"
    )

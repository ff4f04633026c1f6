"""Every write says what it makes stale: it goes through `Writes`, whose transaction has the outbox's row.

The application's own connections fire no triggers, so that a write around `Writes` would be seen by nobody.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import fluxstudio
from fluxstudio.db.counter import nature_of

_SOURCE = Path(fluxstudio.__file__).parent
_NO_PART_OF_THE_APPLICATION = {
    "seed",
    "benchmark",
    "migrations",
    "testing.py",
    "testing_workers.py",
    "testing_stage.py",
}
_INVALIDATING = {"invalidate", "invalidate_tags", "deliver", "drop_local"}


CACHED = {"users", "projects", "members", "messages", "assets", "showcase_pages"}
UNSEEN = {
    "update_password",
    "set_new_email",
    "set_totp_secret",
    "use_totp_step",
    "reseal_totp_secret",
    "note_verified",
}
"""They change what no entry shows: secrets, what is not confirmed, and when something was."""
_CHANGES = re.compile(r"\b(?:INSERT INTO|UPDATE|DELETE FROM)\s+(\w+)")


def changed_by(sql: str) -> set[str]:
    """The tables that a statement changes."""
    return set(_CHANGES.findall(sql))


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(_SOURCE.rglob("*.py")):
        if path.relative_to(_SOURCE).parts[0] not in _NO_PART_OF_THE_APPLICATION:
            yield path, ast.parse(path.read_text())


def called(node: ast.AST) -> Iterator[tuple[ast.Call, str, str]]:
    """The calls of attributes within a node: each with whose it is and its name."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            yield call, ast.unparse(call.func.value), call.func.attr


def writing_queries() -> set[str]:
    """The functions whose SQL changes a table of which the cache shows something."""
    names = set()
    for path, tree in modules():
        if path.name != "queries.py":
            continue
        for function in ast.walk(tree):
            if not isinstance(function, ast.AsyncFunctionDef):
                continue
            texts = (part.value for part in ast.walk(function) if isinstance(part, ast.Constant))
            for text in texts:
                if isinstance(text, str) and nature_of(text).kind == "writes" and CACHED & changed_by(text):
                    names.add(function.name)
    return names


def test_no_query_that_writes_runs_on_a_connection_of_its_own() -> None:
    writers = writing_queries()
    assert writers >= {"insert_message", "update_project", "upsert_member"}
    around = [
        f"{path.relative_to(_SOURCE)}:{call.lineno} {name}"
        for path, tree in modules()
        if path.name != "writes.py"
        for block in ast.walk(tree)
        if isinstance(block, ast.AsyncWith)
        and any("acquire(" in ast.unparse(item.context_expr) for item in block.items)
        for call, _, name in called(block)
        if name in writers - UNSEEN
    ]
    assert writers >= UNSEEN, "a name that nobody has any more"
    assert not around, "these writes say to nobody what they make stale: use Writes.run"


def test_nobody_invalidates_but_writes() -> None:
    """An invalidation that is not in the transaction's outbox is lost with its process."""
    around = [
        f"{path.relative_to(_SOURCE)}:{call.lineno} {owner}.{name}"
        for path, tree in modules()
        if path.name != "writes.py"
        for call, owner, name in called(tree)
        if name in _INVALIDATING or (name in {"set", "delete"} and owner.endswith("cache"))
    ]
    assert not around

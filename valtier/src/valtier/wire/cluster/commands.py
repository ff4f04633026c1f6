"""The commands whose keys are known without asking the server: the ones of Valkey 9 and Redis 7. Pure data.

A test compares the table with what the server itself says.
"""

from __future__ import annotations

from collections.abc import Sequence

from valtier.wire.cluster.keyspec import Argument, Command, KeySpec


def _words(text: str) -> list[str]:
    return text.split()


def _table(rows: Sequence[tuple[tuple[KeySpec, ...], str, str]]) -> dict[str, Command]:
    """Each row: the specifications, the names that read, the names that write. `:` in a name stands for a blank."""
    table: dict[str, Command] = {}
    for specs, reads, writes in rows:
        for read, names in ((True, reads), (False, writes)):
            command = Command(specs, read)
            table |= {name.replace(":", " "): command for name in _words(names)}
    return table


_ONE = KeySpec(1)
_TWO = KeySpec(2)
_ALL = KeySpec(1, last=-1)

_READS = (
    "BITCOUNT BITFIELD_RO BITPOS DUMP EXPIRETIME GEODIST GEOHASH GEOPOS GEORADIUSBYMEMBER_RO GEORADIUS_RO "
    "GEOSEARCH GET GETBIT GETRANGE HEXISTS HEXPIRETIME HGET HGETALL HKEYS HLEN HMGET HPEXPIRETIME HPTTL "
    "HRANDFIELD HSCAN HSTRLEN HTTL HVALS LINDEX LLEN LPOS LRANGE PEXPIRETIME PTTL SCARD SISMEMBER SMEMBERS "
    "SMISMEMBER SORT_RO SRANDMEMBER SSCAN STRLEN SUBSTR TTL TYPE XLEN XPENDING XRANGE XREVRANGE ZCARD ZCOUNT "
    "ZLEXCOUNT ZMSCORE ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANK ZREVRANGE ZREVRANGEBYLEX "
    "ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE"
)
_WRITES = (
    "APPEND BITFIELD DECR DECRBY DELIFEQ EXPIRE EXPIREAT GEOADD GETDEL GETEX GETSET HDEL HEXPIRE HEXPIREAT "
    "HGETDEL HGETEX HINCRBY HINCRBYFLOAT HMSET HPERSIST HPEXPIRE HPEXPIREAT HSET HSETEX HSETNX INCR INCRBY "
    "INCRBYFLOAT LINSERT LPOP LPUSH LPUSHX LREM LSET LTRIM MOVE PERSIST PEXPIRE PEXPIREAT PFADD PSETEX RESTORE "
    "RPOP RPUSH RPUSHX SADD SET SETBIT SETEX SETNX SETRANGE SPOP SPUBLISH SREM XACK XADD XAUTOCLAIM XCLAIM XDEL "
    "XSETID XTRIM ZADD ZINCRBY ZPOPMAX ZPOPMIN ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE"
)

KNOWN = _table(
    [
        ((_ONE,), _READS, _WRITES),
        (
            (_TWO,),
            "MEMORY:USAGE OBJECT:ENCODING OBJECT:FREQ OBJECT:IDLETIME OBJECT:REFCOUNT XINFO:CONSUMERS XINFO:GROUPS XINFO:STREAM",
            "XGROUP:CREATE XGROUP:CREATECONSUMER XGROUP:DELCONSUMER XGROUP:DESTROY XGROUP:SETID",
        ),
        (
            (_ALL,),
            "EXISTS MGET SDIFF SINTER SUNION TOUCH PFCOUNT",
            "DEL UNLINK WATCH SSUBSCRIBE SUNSUBSCRIBE",
        ),
        ((KeySpec(1, last=1),), "LCS", ""),
        (
            (_ONE, _TWO),
            "",
            "BLMOVE BRPOPLPUSH COPY GEOSEARCHSTORE LMOVE RENAME RENAMENX RPOPLPUSH SMOVE ZRANGESTORE",
        ),
        ((KeySpec(1, last=-2),), "", "BLPOP BRPOP BZPOPMAX BZPOPMIN"),
        ((KeySpec(1, last=-1, step=2),), "", "MSET MSETNX"),
        ((KeySpec(1, step=2, counted=True),), "", "MSETEX"),
        ((KeySpec(1, counted=True),), "SINTERCARD ZDIFF ZINTER ZINTERCARD ZUNION", "LMPOP ZMPOP"),
        ((KeySpec(2, counted=True),), "EVALSHA_RO EVAL_RO FCALL_RO", "EVAL EVALSHA FCALL BLMPOP BZMPOP"),
        ((_ONE, KeySpec(2, counted=True)), "", "ZDIFFSTORE ZINTERSTORE ZUNIONSTORE"),
        ((_ONE, KeySpec(2, last=-1)), "", "PFMERGE SDIFFSTORE SINTERSTORE SUNIONSTORE"),
        ((_TWO, KeySpec(3, last=-1)), "", "BITOP"),
        ((KeySpec(1, "STREAMS", last=-1, limit=2),), "XREAD", ""),
        ((KeySpec(4, "STREAMS", last=-1, limit=2),), "", "XREADGROUP"),
        ((_ONE, KeySpec(2, "STORE")), "", "SORT"),
        ((_ONE, KeySpec(6, "STORE"), KeySpec(6, "STOREDIST")), "", "GEORADIUS"),
        ((_ONE, KeySpec(5, "STORE"), KeySpec(5, "STOREDIST")), "", "GEORADIUSBYMEMBER"),
    ]
)

FIRST_IS_KEY: dict[object, bool] = {
    form: command.read
    for name, command in KNOWN.items()
    if command.specs == (_ONE,)
    for form in (name, name.encode(), name.lower(), name.lower().encode())
}
"""Commands whose one key is argument 1, and whether they only read: found without any thought."""

_KEYLESS = _words(
    "AUTH BGREWRITEAOF BGSAVE DBSIZE DISCARD ECHO EXEC FLUSHALL FLUSHDB HELLO INFO KEYS LASTSAVE LOLWUT MULTI PING "
    "PSUBSCRIBE PUBLISH PUNSUBSCRIBE QUIT RANDOMKEY READONLY READWRITE RESET ROLE SAVE SCAN SELECT SHUTDOWN SUBSCRIBE "
    "SWAPDB TIME UNSUBSCRIBE UNWATCH WAIT WAITAOF ASKING"
)
_CONTAINERS_WITHOUT_KEYS = frozenset(
    _words("ACL CLIENT CLUSTER COMMAND COMMANDLOG CONFIG DEBUG FUNCTION LATENCY MODULE PUBSUB SCRIPT SLOWLOG")
)
_CONTAINERS = frozenset(_words("MEMORY OBJECT XGROUP XINFO"))

KNOWN |= dict.fromkeys(_KEYLESS, Command())


def name_of(args: Sequence[Argument]) -> str:
    """Returns the command's name in capitals, with its subcommand where that decides about the keys."""
    name = capitals(args[0])
    if name in _CONTAINERS and len(args) > 1:
        return f"{name} {capitals(args[1])}"
    return name


def lookup(args: Sequence[Argument]) -> Command | None:
    """Returns what is known of the command, or `None`: then the server has to be asked."""
    name = name_of(args)
    command = KNOWN.get(name)
    if command is None and (name in _CONTAINERS_WITHOUT_KEYS or name.partition(" ")[0] in _CONTAINERS):
        return Command()  # such as OBJECT HELP
    return command


def capitals(word: Argument) -> str:
    """Returns a word as the server understands it: in capitals."""
    return (word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word)).upper()

"""Which database this is: the name under which its entries lie in a Valkey that others may use as well."""

from fluxstudio.db.pool import Connection


async def fetch_installation(connection: Connection) -> str:
    """Returns a name that no other database has: not one of another cluster, nor a copy, nor one made anew.

    It is made of the cluster's system identifier, which replicas share, and of the database's OID.
    """
    name: str = await connection.fetchval(
        """
        SELECT to_hex(system_identifier) || '-' || oid
          FROM pg_control_system(), pg_database
         WHERE datname = current_database()
        """
    )
    return name

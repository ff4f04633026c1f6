"""Mail: a durable queue in PostgreSQL, a courier that writes and sends what is due, and the mailbox of development."""

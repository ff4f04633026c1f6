"""Invitations: an address is asked into a project; whoever proves that it is theirs may come."""

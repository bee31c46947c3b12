"""Run by Alembic for every command; `week04_shortener.setup` gives it an open connection.

There is no alembic.ini and no address here: settings are read in one place, by the entry point.
"""

from alembic import context
from sqlalchemy import Connection

connection = context.config.attributes.get("connection")
if not isinstance(connection, Connection):
    raise RuntimeError("run migrations with: python -m week04_shortener setup")

# The caller's transaction spans all revisions and its advisory lock: all or nothing is applied.
context.configure(connection=connection, target_metadata=None)
context.run_migrations()

"""Runs the migrations on the connection that `adapters.database.migrating` hands over; never opens one itself."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=False)
with context.begin_transaction():
    context.run_migrations()

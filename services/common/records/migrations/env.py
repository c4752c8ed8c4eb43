"""The entry point of Alembic: runs the migrations of one service over the connection that `migrate` passes in."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()

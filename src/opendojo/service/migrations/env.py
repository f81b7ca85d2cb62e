"""Alembic's entry: runs the migrations against the address that the caller gave."""

from alembic import context
from sqlalchemy import create_engine, pool

from opendojo.service.models import Base

engine = create_engine(context.config.attributes["address"], poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()

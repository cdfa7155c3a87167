"""The read port on PostgreSQL: one statement for each read, shared by frequent ones."""

from app.infra.postgres.queries.access import AccessQueries
from app.infra.postgres.queries.changes import ChangeQueries
from app.infra.postgres.queries.customers import CustomerQueries
from app.infra.postgres.queries.products import ProductQueries


class PostgresQueries(AccessQueries, CustomerQueries, ChangeQueries, ProductQueries):
    """All reads of one process."""

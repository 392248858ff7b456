"""Column types: public ids kept as UUIDs, times kept in UTC."""

from uuid import UUID

from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.types import TypeDecorator
from typing_extensions import override

from hikaku import ids


class PublicId(TypeDecorator[str]):
    """A public id such as `job_...`; 16 bytes in the table."""

    impl = PG_UUID(as_uuid=True)
    cache_ok = True

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self.prefix = prefix

    @override
    def process_bind_param(self, value: str | None, dialect: Dialect) -> UUID | None:
        return None if value is None else ids.decode(self.prefix, value)

    @override
    def process_result_value(self, value: UUID | None, dialect: Dialect) -> str | None:
        return None if value is None else ids.encode(self.prefix, value)

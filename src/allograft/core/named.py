"""Named: fields that hold a method, which a study file gives by its name.

Only the catalog knows names, and it stands above the methods. A method that holds another one (a link of a
chain its objective) marks the field here, and the catalog says once how such fields are read and written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

__all__ = ["Catalog", "Named", "read_by"]


class Catalog(Protocol):
    """What knows names."""

    def resolve(self, kind: str, value: object) -> Any:
        """Turn a name, {name: settings} or the method itself into the method; ValueError where there is none."""

    def spell(self, method: Any) -> Mapping[str, Any]:
        """Return {name: settings}."""

    def json_schema(self, kind: str) -> dict[str, Any]:
        """Return the schema of a field of this kind."""


_CATALOG: list[Catalog] = []


def read_by(catalog: Catalog) -> None:
    """Let `catalog` read and write every named field from now on; it calls this when it is imported."""
    _CATALOG[:] = [catalog]


@dataclass(frozen=True)
class Named:
    """Marks a field: `objective: Annotated[Objective | None, Named("objective")] = None`.

    Args:
        kind: "start", "tuning", "objective" or "procedure".
    """

    kind: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read and write by the catalog; None stays None where the field allows it."""
        optional = type(None) in getattr(source, "__args__", ())

        def read(value: object) -> Any:
            return None if value is None and optional else _known().resolve(self.kind, value)

        def write(method: Any) -> Any:
            return None if method is None else _known().spell(method)

        return core_schema.no_info_plain_validator_function(
            read, serialization=core_schema.plain_serializer_function_ser_schema(write)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the catalog's schema, so that editors complete names."""
        return _known().json_schema(self.kind)


def _known() -> Catalog:
    if not _CATALOG:
        msg = "methods have names only once allograft.catalog is imported; import it, or give the method itself"
        raise ValueError(msg)
    return _CATALOG[0]

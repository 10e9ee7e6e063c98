"""Many new rows at once with COPY.

bulk_create passes every column as one array literal and escapes long JSON a character at a time: for trajectories COPY
is several times as fast.
"""

import json
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import connection, models


def copy_values(model: type[models.Model], columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[int]:
    """Inserts rows of values and returns their new ids. Names every column but the id; JSON comes as text."""
    meta = model._meta
    missing = {field.column for field in meta.concrete_fields} ^ {meta.pk.column, *columns}
    assert not missing, f"{missing} of {meta.db_table}: COPY knows no defaults, so every column has to be named."
    if not rows:
        return []
    names = ", ".join(f'"{column}"' for column in (meta.pk.column, *columns))
    with connection.wrap_database_errors, connection.cursor() as cursor:
        sequence = "SELECT nextval(pg_get_serial_sequence(%s, %s)) FROM generate_series(1, %s)"
        cursor.execute(sequence, [meta.db_table, meta.pk.column, len(rows)])
        ids = [pk for (pk,) in cursor.fetchall()]
        with cursor.copy(f'COPY "{meta.db_table}" ({names}) FROM STDIN') as copy:
            for pk, row in zip(ids, rows, strict=True):
                copy.write_row((pk, *row))
    return ids


def copy_rows(rows: Sequence[models.Model]) -> None:
    """Inserts new rows of one model and gives them their ids."""
    if not rows:
        return
    model = type(rows[0])
    fields = [field for field in model._meta.concrete_fields if not field.primary_key]
    readers = [_reader(field) for field in fields]
    values = [[read(row) for read in readers] for row in rows]
    for row, pk in zip(rows, copy_values(model, [str(field.column) for field in fields], values), strict=True):
        row.pk = pk


# What psycopg writes as it is. (Subclasses count: a foreign key's value is that of a key.)
PLAIN = (models.AutoField, models.IntegerField, models.FloatField, models.BooleanField, models.ForeignKey, ArrayField)


def _reader(field: "models.Field[Any, Any]") -> Callable[[models.Model], Any]:
    """How a field's value gets out of a row and into COPY; Django's own way takes a quarter of an import."""
    get = attrgetter(field.attname)
    if isinstance(field, models.JSONField):
        return lambda row: None if get(row) is None else json.dumps(get(row), ensure_ascii=False)
    if isinstance(field, models.CharField | models.TextField):
        # A choice is an enum, which psycopg would write by its name.
        return lambda row: None if get(row) is None else str(get(row))
    if isinstance(field, PLAIN):
        return get
    return lambda row: field.get_db_prep_save(field.pre_save(row, add=True), connection)

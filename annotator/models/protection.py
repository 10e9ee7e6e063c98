"""Triggers by which the database itself refuses to change what is final."""

import pgtrigger


def append_only() -> list[pgtrigger.Trigger]:
    """Rows may be added, never changed or removed."""
    return [pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete)]


def final_with(*, parent_table: str, parent_key: str, final_column: str) -> list[pgtrigger.Trigger]:
    """Rows are frozen, and none can be added, once `final_column` of their parent row is set."""

    def refuse_if_final(name: str, operation: pgtrigger.Operation, row: str) -> pgtrigger.Trigger:
        return pgtrigger.Trigger(
            name=name,
            operation=operation,
            when=pgtrigger.Before,
            declare=[("parent_is_final", "boolean")],
            func=f"""
                SELECT {final_column} IS NOT NULL INTO parent_is_final
                  FROM {parent_table} WHERE id = {row}.{parent_key};
                IF parent_is_final THEN
                    RAISE EXCEPTION 'stepmark: % row belongs to a final {parent_table} row', TG_TABLE_NAME;
                END IF;
                -- A BEFORE trigger decides by what it returns: OLD would silently drop an update.
                IF TG_OP = 'DELETE' THEN
                    RETURN OLD;
                END IF;
                RETURN NEW;
            """,
        )

    return [
        refuse_if_final("no_insert_when_final", pgtrigger.Insert, "NEW"),
        refuse_if_final("no_change_when_final", pgtrigger.Update | pgtrigger.Delete, "OLD"),
    ]

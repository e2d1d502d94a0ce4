//! Columns, tables and indexes in the project's own style.

use sea_orm_migration::prelude::*;

pub(super) fn text(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).string().not_null().take()
}

pub(super) fn text_or_none(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).string().null().take()
}

/// JSON and other texts of any length.
pub(super) fn long(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).text().not_null().take()
}

pub(super) fn long_or_none(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).text().null().take()
}

pub(super) fn number(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).big_integer().not_null().take()
}

pub(super) fn number_or_none(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).big_integer().null().take()
}

pub(super) fn truth(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).boolean().not_null().take()
}

pub(super) fn counter(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).big_integer().not_null().auto_increment().primary_key().take()
}

/// A table whose first column is its key, unless that column is one already.
pub(super) fn table(name: &'static str, key: ColumnDef, columns: Vec<ColumnDef>) -> TableCreateStatement {
    let mut key = key;
    let mut table = Table::create();
    table.table(name).col(key.primary_key());
    for mut column in columns {
        table.col(&mut column);
    }
    table
}

pub(super) fn refers(
    table: &mut TableCreateStatement,
    columns: &[(&'static str, &'static str)],
) -> TableCreateStatement {
    let name = table.get_table_name().cloned();
    for (column, to) in columns {
        let mut key = ForeignKey::create();
        key.from_col(*column).to(*to, "id").on_delete(ForeignKeyAction::Restrict);
        if let Some(name) = &name {
            key.from_tbl(name.clone());
        }
        table.foreign_key(&mut key);
    }
    table.take()
}

pub(super) fn index(
    name: &'static str,
    table: &'static str,
    columns: &[&'static str],
) -> IndexCreateStatement {
    let mut index = Index::create();
    index.name(name).table(table);
    for column in columns {
        index.col(*column);
    }
    index
}

//! The texts of statements on whole rows, made once for each table.
//!
//! SeaORM makes a statement anew each time that it runs, which is right for those that differ. For the few on which every
//! request and every operation depends, that takes longer than SQLite takes to run them.

use std::borrow::Cow;

use sea_orm::{
    ActiveModelTrait, ActiveValue, ColumnTrait, ColumnType, DbErr, EntityTrait, IdenStatic, IntoActiveModel,
    Iterable, PrimaryKeyToColumn, Value,
};

use crate::Table;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Truth,
    Number,
    Text,
}

/// A selection of whole rows, as SQLite is asked for it.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    pub(crate) sql: &'a str,
    pub(crate) values: &'a [Value],
    /// What is in the columns that it answers with.
    pub(crate) kinds: &'a [Kind],
}

/// The texts of a table's statements.
#[derive(Debug)]
pub struct Texts {
    table: String,
    columns: Vec<&'static str>,
    /// The places of its key's columns among all.
    pub(crate) key: Vec<usize>,
    pub(crate) kinds: Vec<Kind>,
    /// The row with the key that is given.
    pub(crate) find: String,
    /// Up to the values of the rows.
    insert: String,
    /// For one row, two, and so on.
    insert_few: [String; 6],
}

impl Texts {
    pub(crate) fn of<E: EntityTrait>() -> Self {
        let table = E::default().as_str().to_owned();
        let columns: Vec<&'static str> = E::Column::iter().map(|column| column.as_str()).collect();
        let place = |key: E::PrimaryKey| {
            let key = key.into_column();
            columns.iter().position(|column| *column == key.as_str()).expect("a key is of columns")
        };
        let key: Vec<usize> = E::PrimaryKey::iter().map(place).collect();
        let names = columns.iter().map(|name| format!(r#""{name}""#)).collect::<Vec<_>>().join(", ");
        let insert = format!(r#"INSERT INTO "{table}" ({names}) VALUES "#);
        Self {
            kinds: E::Column::iter().map(|column| kind(column.def().get_column_type())).collect(),
            find: format!(r#"SELECT {names} FROM "{table}" WHERE {}"#, are(&columns, &key, " AND ")),
            insert_few: std::array::from_fn(|before| rows(&insert, columns.len(), before + 1)),
            insert,
            table,
            columns,
            key,
        }
    }

    /// Writes some columns, by their places, of the row with the key that is given after them.
    pub(crate) fn update(&self, changed: &[usize]) -> String {
        let (changes, key) = (are(&self.columns, changed, ", "), are(&self.columns, &self.key, " AND "));
        format!(r#"UPDATE "{}" SET {changes} WHERE {key}"#, self.table)
    }

    /// Adds so many rows.
    pub(crate) fn insert(&self, count: usize) -> Cow<'_, str> {
        match count.checked_sub(1).and_then(|before| self.insert_few.get(before)) {
            Some(text) => text.into(),
            None => rows(&self.insert, self.kinds.len(), count).into(),
        }
    }
}

/// Has some columns be what is given.
fn are(columns: &[&str], which: &[usize], and: &str) -> String {
    which.iter().map(|place| format!(r#""{}" = ?"#, columns[*place])).collect::<Vec<_>>().join(and)
}

fn rows(insert: &str, columns: usize, count: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(", "));
    insert.to_owned() + &vec![row; count].join(", ")
}

fn kind(column: &ColumnType) -> Kind {
    match column {
        ColumnType::Boolean => Kind::Truth,
        ColumnType::TinyInteger
        | ColumnType::SmallInteger
        | ColumnType::Integer
        | ColumnType::BigInteger
        | ColumnType::TinyUnsigned
        | ColumnType::SmallUnsigned
        | ColumnType::Unsigned
        | ColumnType::BigUnsigned => Kind::Number,
        _ => Kind::Text,
    }
}

/// Adds a row's values, in the order of the table's columns.
pub(crate) fn values_of<E: Table>(row: E::Model, values: &mut Vec<Value>) -> Result<(), DbErr>
where
    E::Model: IntoActiveModel<E::ActiveModel>,
{
    let mut row = row.into_active_model();
    for column in E::Column::iter() {
        match row.take(column) {
            ActiveValue::Set(value) | ActiveValue::Unchanged(value) => values.push(value),
            ActiveValue::NotSet => {
                let (table, column) = (E::default().as_str().to_owned(), column.as_str().to_owned());
                return Err(DbErr::Type(format!("{table}.{column} has no value")));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{idempotency, vm};

    #[test]
    fn rows_are_found_and_changed_by_all_columns_of_their_key() {
        let texts = Texts::of::<idempotency::Entity>();
        let find = r#"FROM "idempotency" WHERE "user_id" = ? AND "key" = ?"#;
        assert!(texts.find.ends_with(find), "{}", texts.find);
        assert_eq!(
            texts.update(&[3, 5]),
            r#"UPDATE "idempotency" SET "status" = ?, "created_at" = ? WHERE "user_id" = ? AND "key" = ?"#
        );
        assert!(texts.insert(2).ends_with("VALUES (?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?)"));
    }

    #[test]
    fn every_column_is_of_the_kind_that_its_type_is_read_from() {
        let kind = |name: &str| {
            let place = vm::Column::iter().position(|column| column.as_str() == name).unwrap();
            Texts::of::<vm::Entity>().kinds[place]
        };
        assert_eq!(kind("paused"), Kind::Truth);
        assert_eq!((kind("generation"), kind("expunge_at")), (Kind::Number, Kind::Number));
        assert_eq!((kind("id"), kind("size"), kind("error")), (Kind::Text, Kind::Text, Kind::Text));
    }
}

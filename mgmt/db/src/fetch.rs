//! Reading whole rows.
//!
//! SeaORM reads the rows of a driver that it does not know by name, with a text made for each column's name and for each NULL.
//! A page of 500 VMs is 20,000 values, so whole rows are read by position here: they are selected in the order of the table's
//! columns. A value that its column cannot have is an error, for columns that may be NULL too.

use sea_orm::{
    ActiveModelTrait, DbBackend, DbErr, IdenStatic, Iterable, QuerySelect, QueryTrait, Select, TryIntoModel,
    Value,
};

use crate::{Reader, Table};

/// A selection of whole rows.
pub(crate) trait Fetch<E: Table> {
    /// All of them.
    async fn fetch(self, db: &impl Reader) -> Result<Vec<E::Model>, DbErr>;

    /// The first of them, if there is one.
    async fn fetch_one(self, db: &impl Reader) -> Result<Option<E::Model>, DbErr>;
}

impl<E: Table> Fetch<E> for Select<E> {
    async fn fetch(self, db: &impl Reader) -> Result<Vec<E::Model>, DbErr> {
        db.read(&self.build(DbBackend::Sqlite), read::<E>).await
    }

    async fn fetch_one(self, db: &impl Reader) -> Result<Option<E::Model>, DbErr> {
        Ok(self.limit(1).fetch(db).await?.pop())
    }
}

/// The row of these values.
fn read<E: Table>(values: Vec<Value>) -> Result<E::Model, DbErr> {
    let mut row = <E::ActiveModel as ActiveModelTrait>::default();
    for (column, value) in E::Column::iter().zip(values) {
        row.try_set(column, value).map_err(|error| {
            let (table, column) = (E::default().as_str().to_owned(), column.as_str().to_owned());
            DbErr::Type(format!("{table}.{column}: {error}"))
        })?;
    }
    row.try_into_model()
}

//! Reading whole rows.
//!
//! SeaORM reads the rows of a driver that it does not know by name, with a text made for each column's name and for each NULL.
//! A page of 500 VMs is 20,000 values, so whole rows are read by position here: they are selected in the order of the table's
//! columns. A value that its column cannot have is an error, for columns that may be NULL too.

use sea_orm::{
    ActiveModelTrait, DbBackend, DbErr, IdenStatic, Iterable, PrimaryKeyTrait, QuerySelect, QueryTrait,
    Select, TryIntoModel, Value, Values,
};

use sea_orm::sea_query::IntoValueTuple;

use crate::texts::Selection;
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
        let statement = self.build(DbBackend::Sqlite);
        let values: &[Value] = statement.values.as_ref().map_or(&[], |Values(values)| values);
        db.read(Selection { sql: &statement.sql, values, kinds: &E::texts().kinds }, read::<E>).await
    }

    async fn fetch_one(self, db: &impl Reader) -> Result<Option<E::Model>, DbErr> {
        Ok(self.limit(1).fetch(db).await?.pop())
    }
}

/// The row with that key, if there is one.
pub(crate) async fn by_key<E: Table>(
    db: &impl Reader,
    key: <E::PrimaryKey as PrimaryKeyTrait>::ValueType,
) -> Result<Option<E::Model>, DbErr> {
    let key: Vec<Value> = key.into_value_tuple().into_iter().collect();
    let texts = E::texts();
    Ok(db.read(Selection { sql: &texts.find, values: &key, kinds: &texts.kinds }, read::<E>).await?.pop())
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

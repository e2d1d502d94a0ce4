//! The management service's database: one file per resource, and the only crate with SQL in it.
//!
//! Reading takes any connection; writing takes a [`Tx`], which is one transaction. What a transaction changes it also
//! writes to the table `changes`, from which the event stream is served; so a change is never told before it is durable,
//! and never forgotten after.
//!
//! This crate knows no rule of what may happen; those are in mgmt-app.
//!
//! # Design notes
//! SQLite is opened in WAL mode with `synchronous=FULL`: a commit is durable when it returns. Write transactions begin
//! with `BEGIN IMMEDIATE` and queue on a lock of this process first, so that they never fail with "database is locked".

#![allow(
    missing_docs,
    reason = "a row's columns are the fields of mgmt-api's types, and are documented there"
)]

/// What SeaORM wants of an entity whose rows are joined by hand, and whether its rows are kept in memory, see [`rows`].
macro_rules! no_relations {
    () => {
        $crate::no_relations!(@);
        impl $crate::Table for Entity {
            $crate::has_texts!();
        }
    };
    (kept) => {
        $crate::no_relations!(@);
        impl $crate::Table for Entity {
            $crate::has_texts!();

            fn kept_as(id: &<PrimaryKey as PrimaryKeyTrait>::ValueType) -> Option<String> {
                Some(id.to_string())
            }
        }
    };
    (@) => {
        #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
        pub enum Relation {}
        impl ActiveModelBehavior for ActiveModel {}
    };
}
pub(crate) use no_relations;

/// The texts of a table's statements, made once.
macro_rules! has_texts {
    () => {
        fn texts() -> &'static $crate::texts::Texts {
            static TEXTS: std::sync::LazyLock<$crate::texts::Texts> =
                std::sync::LazyLock::new($crate::texts::Texts::of::<Entity>);
            &TEXTS
        }
    };
}
pub(crate) use has_texts;

pub mod account;
pub mod affinity;
mod background;
pub mod change;
mod column;
pub mod console;
mod durable;
mod error;
pub mod event;
mod fetch;
pub mod held;
pub mod idempotency;
mod ledger;
mod lock;
mod migration;
pub mod network;
pub mod offering;
pub mod operation;
pub mod pool;
pub mod public_ip;
mod reading;
pub mod router;
mod rows;
pub mod rule;
mod runs;
pub mod server;
mod sqlite;
mod store;
pub mod template;
pub mod termination;
mod texts;
pub mod traffic;
pub mod vm;
pub mod volume;
mod writing;
pub mod zone;

pub use column::{Col, JsonCol};
pub use error::DbError;
pub use ledger::{Drift, Ledger, Taken};
pub use reading::Reading;
pub use rows::Rows;
pub use store::{Counted, Db, Tx};
pub use writing::Writing;

use std::sync::{LazyLock, MutexGuard};
use std::time::SystemTime;

use podzol_mgmt_api::Timestamp;
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, PrimaryKeyTrait, TryIntoModel, Value};
use tokio::time::Instant;

use fetch::by_key;
use texts::{Selection, Texts};

/// A connection to read with: the database or a transaction.
pub trait Reader: ConnectionTrait {
    /// Where the row with that id may be kept; none if it is to be read from the database.
    fn rows(&self, id: &str) -> Option<&Rows>;

    /// Makes something of each row of a selection.
    #[doc(hidden)]
    fn read<T: Send>(
        &self,
        selection: Selection<'_>,
        make: impl FnMut(Vec<Value>) -> Result<T, DbErr> + Send,
    ) -> impl Future<Output = Result<Vec<T>, DbErr>> + Send;

    /// What is given out, for a short look: whoever writes waits meanwhile.
    fn ledger(&self) -> MutexGuard<'_, Ledger>;
}

/// How many rows a statement looks for by their ids at most: SQLite takes 32,766 values in one.
pub(crate) const SOUGHT_AT_ONCE: usize = 1000;

/// How many rows are forgotten in one transaction: whoever else writes waits meanwhile.
pub(crate) const FORGOTTEN_AT_ONCE: u64 = 500;

/// A table.
pub trait Table: EntityTrait<ActiveModel: TryIntoModel<Self::Model>> {
    /// The texts of its statements on whole rows.
    #[doc(hidden)]
    fn texts() -> &'static Texts;

    /// The id under which a row is kept in memory; none if it is not.
    fn kept_as(_: &<Self::PrimaryKey as PrimaryKeyTrait>::ValueType) -> Option<String> {
        None
    }
}

/// The time now.
///
/// The system's clock is read once, when the process first asks; from then on the time goes by as the monotonic clock has
/// it. So leases, deadlines and what is due are not moved when somebody sets the clock; the time set is taken over by the
/// next start. The monotonic clock follows NTP's rate, so the two stay together but for such steps.
pub fn now() -> Timestamp {
    static BEGUN: LazyLock<(i64, Instant)> = LazyLock::new(|| {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        (since_1970.as_millis() as i64, Instant::now())
    });
    let (wall, begun) = *BEGUN;
    Timestamp(wall + Instant::now().saturating_duration_since(begun).as_millis() as i64)
}

/// The row with that id, if there is one.
///
/// # Errors
/// When the database cannot be read.
pub async fn find<E: Table<Model: Clone + Sync>>(
    db: &impl Reader,
    id: impl Into<<E::PrimaryKey as PrimaryKeyTrait>::ValueType>,
) -> Result<Option<E::Model>, DbError> {
    let id = id.into();
    let Some((name, rows)) = E::kept_as(&id).and_then(|name| db.rows(&name).map(|rows| (name, rows))) else {
        return Ok(by_key::<E>(db, id).await?);
    };
    match rows.get::<E::Model>(&name) {
        Ok(row) => Ok(Some(row)),
        Err(commits) => {
            let found = by_key::<E>(db, id).await?;
            if let Some(row) = &found {
                rows.keep(name, row.clone(), commits);
            }
            Ok(found)
        }
    }
}

//! What can go wrong, by what it means.

use sea_orm::{DbErr, SqlErr};

/// Why the database did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DbError {
    /// A value that must be there once is there already.
    #[error("already exists: {0}")]
    Taken(String),
    /// Something else still refers to the row.
    #[error("something still refers to it")]
    Referred,
    /// There is no room left on the database's disk. Nothing was changed.
    #[error("the database's disk is full")]
    Full,
    /// Anything else: the file is damaged, and the like.
    #[error("the database failed: {0}")]
    Failed(DbErr),
}

impl From<DbErr> for DbError {
    fn from(error: DbErr) -> Self {
        match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(what)) => Self::Taken(what),
            Some(SqlErr::ForeignKeyConstraintViolation(_)) => Self::Referred,
            _ => match sqlite_code(&error).as_deref() {
                Some(RESTRICTED) => Self::Referred,
                Some(FULL) => Self::Full,
                _ => Self::Failed(error),
            },
        }
    }
}

/// SQLite's code for a row that `ON DELETE RESTRICT` keeps (SQLITE_CONSTRAINT_TRIGGER), which SeaORM does not know.
const RESTRICTED: &str = "1811";

/// SQLite's code for a write that found no room (SQLITE_FULL).
const FULL: &str = "13";

fn sqlite_code(error: &DbErr) -> Option<String> {
    let (DbErr::Exec(sea_orm::RuntimeErr::SqlxError(error))
    | DbErr::Query(sea_orm::RuntimeErr::SqlxError(error))) = error
    else {
        return None;
    };
    error.as_database_error()?.code().map(std::borrow::Cow::into_owned)
}

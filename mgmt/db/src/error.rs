//! What can go wrong, by what it means.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::ffi;
use sea_orm::DbErr;

use crate::sqlite;

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
    /// Another service has it open: it keeps this file locked.
    #[error("another management service has it open: {} is locked", .0.display())]
    InUse(PathBuf),
    /// The file whose lock keeps others off cannot be used.
    #[error("cannot lock {}: {source}", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: Arc<std::io::Error>,
    },
    /// Anything else: the file is damaged, and the like.
    #[error("the database failed: {0}")]
    Failed(DbErr),
}

impl From<DbErr> for DbError {
    fn from(error: DbErr) -> Self {
        match sqlite::code(&error) {
            Some((ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY, what)) => {
                Self::Taken(what.to_owned())
            }
            // The second is of a row that `ON DELETE RESTRICT` keeps.
            Some((ffi::SQLITE_CONSTRAINT_FOREIGNKEY | ffi::SQLITE_CONSTRAINT_TRIGGER, _)) => Self::Referred,
            Some((ffi::SQLITE_FULL, _)) => Self::Full,
            _ => Self::Failed(error),
        }
    }
}

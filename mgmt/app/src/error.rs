//! Errors by what the caller can do about them.

use podzol_mgmt_db::DbError;

/// Why a use case was not carried out. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The caller has not shown a valid key.
    #[error("a valid API key is needed: Authorization: Bearer …")]
    Unauthenticated,
    /// The caller may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such thing, or none that the caller may know of.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// A field breaks a rule.
    #[error("{field}: {rule}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// Which rule.
        rule: String,
    },
    /// Another object, or the object's own state, stands in the way.
    #[error("{detail}")]
    Conflict {
        /// What kind of conflict, for programs.
        code: &'static str,
        /// What stands in the way.
        detail: String,
    },
    /// Something is used up.
    #[error("{detail}")]
    Exhausted {
        /// What is used up, for programs.
        code: &'static str,
        /// What is used up, and where.
        detail: String,
        /// Why each class of candidates was passed over.
        reasons: Vec<String>,
    },
    /// The account sends more requests than it may.
    #[error("the account sends more requests than it may; wait {} ms", wait.as_millis())]
    TooMany {
        /// How long until the next.
        wait: std::time::Duration,
    },
    /// As many requests are being answered as may be.
    #[error("the service has as much to do as it can; try again")]
    Overloaded,
    /// A part that is needed does not answer now.
    #[error("{0}")]
    Unavailable(String),
    /// The service itself failed.
    #[error("{0}")]
    Internal(String),
    /// There is no room for the change.
    #[error("the management service's disk is full; nothing was changed")]
    DiskFull,
    /// The database failed.
    #[error(transparent)]
    Db(DbError),
}

impl From<DbError> for AppError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Full => Self::DiskFull,
            error => Self::Db(error),
        }
    }
}

impl AppError {
    /// A field breaks a rule.
    pub(crate) fn invalid(field: &'static str, rule: impl Into<String>) -> Self {
        Self::Invalid { field, rule: rule.into() }
    }

    /// Something with that name is there already.
    pub(crate) fn taken(kind: &str, name: impl std::fmt::Display) -> Self {
        let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) && kind != "user" { "an" } else { "a" };
        Self::Conflict {
            code: "name_taken",
            detail: format!("there is already {article} {kind} named {name}"),
        }
    }

    /// Something still belongs to it.
    pub(crate) fn in_use(detail: impl Into<String>) -> Self {
        Self::Conflict { code: "in_use", detail: detail.into() }
    }
}

/// Says what a refusal of the database means here.
pub(crate) trait Meaning<T> {
    /// A unique value that is taken means this.
    fn or_taken(self, meaning: impl FnOnce() -> AppError) -> Result<T, AppError>;
    /// A row that is still referred to means this.
    fn or_referred(self, meaning: impl FnOnce() -> AppError) -> Result<T, AppError>;
}

impl<T> Meaning<T> for Result<T, DbError> {
    fn or_taken(self, meaning: impl FnOnce() -> AppError) -> Result<T, AppError> {
        self.map_err(|error| if matches!(error, DbError::Taken(_)) { meaning() } else { error.into() })
    }

    fn or_referred(self, meaning: impl FnOnce() -> AppError) -> Result<T, AppError> {
        self.map_err(|error| if matches!(error, DbError::Referred) { meaning() } else { error.into() })
    }
}

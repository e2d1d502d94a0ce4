//! Errors: problem documents (RFC 9457) with a stable code.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a request was not carried out. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// What kind of problem, as a URI; `about:blank` with the code beside it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The meaning of the status code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What kind of problem, for programs: a word that does not change between versions.
    pub code: String,
    /// What is wrong here, for people.
    pub detail: String,
    /// The field that breaks a rule, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Why each class of candidates was passed over, when nothing could be placed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// The request, to find it in the service's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        self.reasons.iter().try_for_each(|reason| write!(f, "\n  {reason}"))
    }
}

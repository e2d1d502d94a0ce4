//! What differs between what should exist and what does.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// All differences, on every host, in every pool, and in the database. None when all is well. What an operation is at
/// work on is no difference.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Diagnosis {
    /// The differences.
    pub findings: Vec<Finding>,
    /// How many hosts were asked.
    pub hosts: u32,
    /// How many pools were asked.
    pub pools: u32,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// Where: `host h1`, `pool nfs1` or `database`.
    pub place: String,
    /// What kind of difference, for programs.
    pub code: String,
    /// The id or name of what differs.
    pub subject: String,
    /// What is so, and what should be.
    pub detail: String,
    /// Why, if that is known, and what becomes of it.
    pub cause: Option<String>,
}

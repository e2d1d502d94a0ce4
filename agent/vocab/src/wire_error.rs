//! The error body between Podzol's parts.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Generation;

/// What kind of refusal an error is, by what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request breaks a rule; the message names the field and the rule.
    Invalid,
    /// The caller is not who it must be.
    Refused,
    /// There is no such object.
    NotFound,
    /// A newer description is in force.
    StaleGeneration,
    /// Another description with the same generation is in force.
    GenerationConflict,
    /// Another object or state stands in the way.
    Conflict,
    /// A capacity is used up.
    Exhausted,
    /// The part cannot do it now; the same call may succeed later.
    Unavailable,
    /// The part failed; its log has the details.
    Internal,
}

impl ErrorCode {
    /// The HTTP status that carries this code.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 422,
            Self::Refused => 403,
            Self::NotFound => 404,
            Self::StaleGeneration | Self::GenerationConflict | Self::Conflict => 409,
            Self::Exhausted => 507,
            Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }

    /// Whether the same call may succeed later without any change to it.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Unavailable | Self::Internal)
    }
}

/// An error as it goes over the wire: what kind, in words, and which request it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireError {
    /// What the caller can do about it.
    pub code: ErrorCode,
    /// What happened, with the object and the rule, in words.
    pub message: Cow<'static, str>,
    /// The generation in force, where the one in the request is older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force: Option<Generation>,
    /// The id of the request, to find it in the logs of both sides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl WireError {
    /// An error of that kind.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), in_force: None, request_id: None }
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for WireError {}

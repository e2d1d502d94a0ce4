//! Why a request is refused, as pages hear it.

use http::StatusCode;
use podzol_console_proxy_api::{DeletionReason, TicketError};
use serde::Serialize;

use crate::input::batch::BatchError;
use crate::session::Over;
use crate::viewer::Gone;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{0}")]
    Invalid(&'static str),
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    TicketInvalid(TicketError),
    #[error("the ticket has expired")]
    TicketExpired,
    #[error("the ticket was exchanged before")]
    TicketUsed,
    #[error("the VM is not running")]
    Stopped,
    #[error("the session is not known here")]
    SessionUnknown,
    #[error("the page is not known any more")]
    ViewerUnknown,
    #[error("the session is over")]
    Over(Over),
    #[error("the session is at another server")]
    Moved,
    #[error("the poll was asked before")]
    Repeated,
    #[error("the request comes from another origin")]
    Origin,
    #[error("the session may only look")]
    ViewOnly,
    #[error("there is nothing here")]
    NotFound,
    #[error("the method must be {0}")]
    Method(&'static str),
    #[error("the content type must be {0}")]
    Type(&'static str),
    #[error("the body must have at most {0} bytes")]
    TooLarge(usize),
    #[error("the body did not come in time")]
    Slow,
    #[error("too many: {0}")]
    TooMany(&'static str),
}

#[derive(Debug, Serialize)]
struct Told {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Over>,
}

impl Fault {
    /// Its status.
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) | Self::Batch(_) => StatusCode::BAD_REQUEST,
            Self::TicketInvalid(_) | Self::TicketExpired | Self::TicketUsed | Self::SessionUnknown => {
                StatusCode::UNAUTHORIZED
            }
            Self::Origin | Self::ViewOnly => StatusCode::FORBIDDEN,
            Self::ViewerUnknown | Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Moved | Self::Repeated | Self::Stopped => StatusCode::CONFLICT,
            Self::Over(_) => StatusCode::GONE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Type(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// By which pages know it.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) | Self::Batch(_) => "invalid",
            Self::TicketInvalid(_) => "ticket_invalid",
            Self::TicketExpired => "ticket_expired",
            Self::TicketUsed => "ticket_used",
            Self::Stopped => "vm_not_running",
            Self::SessionUnknown => "session_unknown",
            Self::ViewerUnknown => "viewer_unknown",
            Self::Over(_) => "session_ended",
            Self::Moved => "moved",
            Self::Repeated => "repeated",
            Self::Origin => "origin",
            Self::ViewOnly => "view_only",
            Self::NotFound => "not_found",
            Self::Method(_) => "method",
            Self::Type(_) => "type",
            Self::TooLarge(_) => "too_large",
            Self::Slow => "slow",
            Self::TooMany(_) => "too_many",
        }
    }

    /// Its body.
    pub(crate) fn json(&self) -> Vec<u8> {
        let reason = if let Self::Over(over) = self { Some(*over) } else { None };
        let told = Told { code: self.code(), message: self.to_string(), reason };
        serde_json::to_vec(&told).expect("it has nothing that JSON lacks")
    }

    /// The code with which a socket is closed for it.
    pub(crate) const fn close_code(&self) -> u16 {
        match self {
            Self::SessionUnknown | Self::Moved => 4401,
            Self::ViewerUnknown => 4404,
            Self::Over(_) => 4410,
            Self::TooMany(_) => 1013,
            _ => 1008,
        }
    }
}

impl From<Gone> for Fault {
    fn from(gone: Gone) -> Self {
        match gone {
            Gone::Forgotten => Self::ViewerUnknown,
            Gone::Over(over) => Self::Over(over),
            Gone::Deleted(reason) => reason.into(),
        }
    }
}

impl From<DeletionReason> for Fault {
    fn from(reason: DeletionReason) -> Self {
        match reason {
            DeletionReason::Revoked => Self::Over(Over::Revoked),
            DeletionReason::Moved => Self::Moved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_with_its_code_and_reason() {
        let told = |fault: &Fault| String::from_utf8(fault.json()).unwrap();
        assert_eq!(
            told(&Fault::Over(Over::Idle)),
            r#"{"code":"session_ended","message":"the session is over","reason":"idle"}"#
        );
        let batch = Fault::from(BatchError::Kind(9));
        assert_eq!(told(&batch), r#"{"code":"invalid","message":"event 9: must be 1 to 6"}"#);
    }
}

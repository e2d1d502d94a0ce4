//! The endpoints, all of which only the management service may call.

use http::Method;
use podzol_rpc::Endpoint;
use podzol_vocab::ConsoleSessionId;

use crate::{Deletion, Document, ProxyStatus, Session, SessionAnswer, Sessions};

/// Puts the document in force, whole. A newer one is applied, the same is success, an older one is refused, and another one
/// of the same generation is an error of its own. One that cannot be applied changes nothing.
#[derive(Debug)]
pub struct DocumentPut;

impl Endpoint for DocumentPut {
    const METHOD: Method = Method::PUT;
    const MAX_BODY: usize = 1 << 20;
    const ROUTE: &'static str = "/v1/document";
    type Path = ();
    type Request = Document;
    type Answer = ();

    fn path((): &()) -> String {
        Self::ROUTE.into()
    }
}

/// Puts a session, with the same four answers. The document must name its server; a server that is full or draining takes no
/// session that it does not have.
#[derive(Debug)]
pub struct SessionPut;

impl Endpoint for SessionPut {
    const METHOD: Method = Method::PUT;
    const MAX_BODY: usize = 256 << 10;
    const ROUTE: &'static str = "/v1/sessions/{session}";
    type Path = ConsoleSessionId;
    type Request = Session;
    type Answer = SessionAnswer;

    fn path(session: &ConsoleSessionId) -> String {
        format!("/v1/sessions/{session}")
    }
}

/// Ends a session at one server at once: its pages get nothing more there, and hear why. A session, or a server, that is not there
/// is success. A description that is not newer than the deletion does not bring it back there. It is in the status no more.
#[derive(Debug)]
pub struct SessionDelete;

impl Endpoint for SessionDelete {
    const METHOD: Method = Method::DELETE;
    const ROUTE: &'static str = "/v1/sessions/{session}";
    type Path = ConsoleSessionId;
    type Request = Deletion;
    type Answer = ();

    fn path(session: &ConsoleSessionId) -> String {
        format!("/v1/sessions/{session}")
    }
}

/// The sessions that there are, to compare with those that should be.
#[derive(Debug)]
pub struct SessionsGet;

impl Endpoint for SessionsGet {
    const METHOD: Method = Method::GET;
    const ROUTE: &'static str = "/v1/sessions";
    type Path = ();
    type Request = ();
    type Answer = Sessions;

    fn path((): &()) -> String {
        Self::ROUTE.into()
    }
}

/// What the proxy does now.
#[derive(Debug)]
pub struct StatusGet;

impl Endpoint for StatusGet {
    const METHOD: Method = Method::GET;
    const ROUTE: &'static str = "/v1/status";
    type Path = ();
    type Request = ();
    type Answer = ProxyStatus;

    fn path((): &()) -> String {
        Self::ROUTE.into()
    }
}

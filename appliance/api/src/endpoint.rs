//! The endpoints, all of which only the management service may call.

use http::Method;
use podzol_rpc::Endpoint;

use crate::{Capture, Delta, Diagnosis, Document, Logs, RouterStatus};

/// The largest document in bytes: more than one that keeps the rules' limits takes.
const LARGEST: usize = 24 << 20;

/// Puts the document in force, whole. A newer one is applied, the same is success, an older one is refused, and another
/// one of the same generation is an error of its own. One that cannot be applied changes nothing.
#[derive(Debug)]
pub struct DocumentPut;

impl Endpoint for DocumentPut {
    const METHOD: Method = Method::PUT;
    const MAX_BODY: usize = LARGEST;
    const ROUTE: &'static str = "/v1/document";
    type Path = ();
    type Request = Document;
    type Answer = ();

    fn path((): &()) -> String {
        Self::ROUTE.into()
    }
}

/// Changes the document in force by what is different in a newer one. It is refused with the generation in force when that
/// is not the one it begins at; then the whole document is put.
#[derive(Debug)]
pub struct DocumentPatch;

impl Endpoint for DocumentPatch {
    const METHOD: Method = Method::PATCH;
    const MAX_BODY: usize = LARGEST;
    const ROUTE: &'static str = "/v1/document";
    type Path = ();
    type Request = Delta;
    type Answer = ();

    fn path((): &()) -> String {
        Self::ROUTE.into()
    }
}

/// What the router does now.
#[derive(Debug)]
pub struct StatusGet;

impl Endpoint for StatusGet {
    const METHOD: Method = Method::GET;
    const ROUTE: &'static str = "/v1/status";
    type Path = ();
    type Request = ();
    type Answer = RouterStatus;

    fn path((): &()) -> String {
        Self::ROUTE.into()
    }
}

/// The last lines of its log.
#[derive(Debug)]
pub struct LogsGet;

impl Endpoint for LogsGet {
    const METHOD: Method = Method::GET;
    const ROUTE: &'static str = "/v1/logs";
    type Path = ();
    type Request = ();
    type Answer = Logs;

    fn path((): &()) -> String {
        Self::ROUTE.into()
    }
}

/// What there is in it, for people.
#[derive(Debug)]
pub struct DiagnosisGet;

impl Endpoint for DiagnosisGet {
    const METHOD: Method = Method::GET;
    const ROUTE: &'static str = "/v1/diagnosis";
    type Path = ();
    type Request = ();
    type Answer = Diagnosis;

    fn path((): &()) -> String {
        Self::ROUTE.into()
    }
}

/// Captures packets of a link, for so long and so many bytes as it says. The answer is no JSON but the bytes of a file, as
/// they come, of the type [`PCAP`](crate::PCAP); it ends early if its caller goes away. While one goes on, another one is
/// refused as a conflict.
#[derive(Debug)]
pub struct CaptureMake;

impl Endpoint for CaptureMake {
    const METHOD: Method = Method::POST;
    const MAX_BODY: usize = 4 << 10;
    const ROUTE: &'static str = "/v1/capture";
    type Path = ();
    type Request = Capture;
    type Answer = ();

    fn path((): &()) -> String {
        Self::ROUTE.into()
    }
}

//! The host itself.

use http::Method;
use podzol_rpc::Endpoint;

use crate::report::HostReport;

/// The host's report, made now. Unavailable as long as the agent would send none: until the hypervisor has answered, and
/// while the agent does not know its own address.
#[derive(Debug)]
pub struct HostGet;

impl Endpoint for HostGet {
    const METHOD: Method = Method::GET;
    const ROUTE: &'static str = "/v1/host";
    type Path = ();
    type Request = ();
    type Answer = HostReport;

    fn path((): &()) -> String {
        Self::ROUTE.into()
    }
}

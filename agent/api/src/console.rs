//! Streams to the consoles of VMs that run on a host. The management service may open them, and console proxies that
//! show its [grant](crate::grant) for the VM, and nobody else: a host's certificate is no way to another host's screens.

use podzol_rpc::StreamEndpoint;
use podzol_vocab::VmId;

/// A stream to a VM's display: RFB, on which the display's server speaks first. It needs no password, as nobody else can
/// reach the display. It is refused with [`NotFound`](podzol_vocab::ErrorCode::NotFound) if the VM does not run here, and ends
/// when the VM does. A VM has at most [`MAX_DISPLAYS`] of them.
#[derive(Debug)]
pub struct DisplayStream;

/// The most streams to a VM's display: one for each console proxy that shows it, and some that are not known to be dead yet.
pub const MAX_DISPLAYS: usize = 16;

impl StreamEndpoint for DisplayStream {
    const ROUTE: &'static str = "/v1/vms/{vm}/display";
    type Path = VmId;

    fn path(vm: &VmId) -> String {
        format!("/v1/vms/{vm}/display")
    }
}

/// A stream to a VM's serial port, both ways. There is only one of them: a new one ends the one before it.
#[derive(Debug)]
pub struct SerialStream;

impl StreamEndpoint for SerialStream {
    const ROUTE: &'static str = "/v1/vms/{vm}/serial";
    type Path = VmId;

    fn path(vm: &VmId) -> String {
        format!("/v1/vms/{vm}/serial")
    }
}

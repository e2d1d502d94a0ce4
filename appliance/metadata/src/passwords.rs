//! The passwords that VMs should set, in the form of CloudStack's password server.
//!
//! ```text
//!             send_my_password            saved_password
//! Waiting ----------------------> Given ------------------> Saved
//!    ^                              |                         |
//!    +------------------------------+-------------------------+
//!                a document with another password
//! ```
//! - **Waiting**: nobody has asked. `saved_password` is about an earlier password and changes nothing.
//! - **Given**: the VM has it, and gets it again if it asks again: its answer may be lost, or the VM started anew.
//! - **Saved**: the VM has set it. It is not given any more, and the status says so until a document has no password
//!   for the VM.
//!
//! A document without a password for a VM forgets it, so the same password can be given again after that. All is in
//! memory: a router that starts anew gives passwords again that the document still has, which is why it is in the document
//! only until the status says that it was set.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use http::{HeaderName, Method, StatusCode};
use podzol_appliance_api::Document;
use podzol_vocab::{NetworkId, Secret, VmId};

use crate::response::{Request, Response};

const DOMU_REQUEST: HeaderName = HeaderName::from_static("domu_request");

/// What is said where there is no password, and to a VM that has set it.
const SAVED_PASSWORD: &str = "saved_password";

/// The passwords, and how far each VM is with its own.
#[derive(Debug, Default)]
pub struct Passwords {
    askers: HashMap<(NetworkId, Ipv4Addr), VmId>,
    entries: BTreeMap<VmId, Entry>,
}

impl Passwords {
    /// Takes over a new document. A VM whose password is the same stays where it is.
    pub fn update(&mut self, document: &Document) {
        let vms = document.vms.iter();
        let entries = vms.filter_map(|(vm, facts)| {
            let password = facts.password.as_ref()?;
            let known = self.entries.remove(vm).filter(|entry| entry.password == *password);
            Some((*vm, known.unwrap_or_else(|| Entry { password: password.clone(), state: State::Waiting })))
        });
        self.entries = entries.collect();
        let nics = document.nics.values().filter(|nic| document.vms.contains_key(&nic.vm));
        self.askers = nics.map(|nic| ((nic.network, nic.address), nic.vm)).collect();
    }

    /// The response to a request that came in on this network from this address. Its path does not matter.
    pub fn answer(&mut self, network: NetworkId, from: Ipv4Addr, request: &Request<'_>) -> Response {
        let Some(vm) = self.askers.get(&(network, from)) else {
            return Response::refusal(StatusCode::NOT_FOUND);
        };
        if request.method != Method::GET {
            return Response::wrong_method("GET");
        }
        let entry = self.entries.get_mut(vm);
        match request.headers.get(DOMU_REQUEST).map(|wanted| wanted.as_bytes()) {
            Some(b"send_my_password") => {
                Response::text(entry.and_then(Entry::give).unwrap_or_else(|| SAVED_PASSWORD.to_owned()))
            }
            Some(b"saved_password") => {
                entry.into_iter().for_each(Entry::save);
                Response::text(SAVED_PASSWORD)
            }
            _ => Response { status: StatusCode::BAD_REQUEST, ..Response::text("bad_request") },
        }
    }

    /// The VMs that have set the password they were given.
    pub fn passwords_set(&self) -> Vec<VmId> {
        let saved = self.entries.iter().filter(|(_, entry)| entry.state == State::Saved);
        saved.map(|(vm, _)| *vm).collect()
    }
}

#[derive(Debug)]
struct Entry {
    password: Secret<String>,
    state: State,
}

impl Entry {
    fn give(&mut self) -> Option<String> {
        if self.state == State::Saved {
            return None;
        }
        self.state = State::Given;
        Some(self.password.expose().clone())
    }

    fn save(&mut self) {
        if self.state == State::Given {
            self.state = State::Saved;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Given,
    Saved,
}

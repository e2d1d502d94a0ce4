//! What services see of the document in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use podzol_appliance_api::Document;
use podzol_vocab::{InterfaceName, NetworkId};

/// The document in force, and the links of its networks that are there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    pub(crate) document: Arc<Document>,
    pub(crate) links: BTreeMap<NetworkId, Link>,
}

/// A link. One that was unplugged and plugged in again has another index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) name: InterfaceName,
    pub(crate) index: u32,
}

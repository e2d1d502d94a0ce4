//! Names in place of ids, for people.

use std::collections::HashMap;

use serde_json::Value;
use tokio::sync::Mutex;

use crate::api::Api;
use crate::things::{
    ACCOUNT, AFFINITY_GROUP, HOST, Kind, NETWORK, OFFERING, POD, POOL, PUBLIC_IP, STORAGE_SERVER, TEMPLATE,
    USER, VM, ZONE,
};

/// The fields that hold an id, and of what.
const REFERENCES: [(&str, Kind); 14] = [
    ("account", ACCOUNT),
    ("affinity_group", AFFINITY_GROUP),
    ("host", HOST),
    ("moving_to", HOST),
    ("network", NETWORK),
    ("offering", OFFERING),
    ("pod", POD),
    ("pool", POOL),
    ("public_ip", PUBLIC_IP),
    ("storage_server", STORAGE_SERVER),
    ("template", TEMPLATE),
    ("user", USER),
    ("vm", VM),
    ("zone", ZONE),
];

/// The names that were looked up, by id.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<HashMap<String, String>>);

impl Names {
    /// Puts names in place of ids in a thing and in the things in it, but for a host's report, which nobody is shown. An id
    /// that cannot be looked up stays.
    pub(crate) async fn put(&self, api: &Api, thing: &mut Value) {
        let Value::Object(fields) = thing else { return };
        for (field, value) in fields {
            match value {
                Value::String(id) => {
                    if let Some((_, kind)) = REFERENCES.iter().find(|(name, _)| name == field) {
                        *id = self.name(api, *kind, id).await;
                    }
                }
                Value::Array(items) => {
                    for item in items {
                        Box::pin(self.put(api, item)).await;
                    }
                }
                Value::Object(_) if field != "report" => Box::pin(self.put(api, value)).await,
                _ => {}
            }
        }
    }

    async fn name(&self, api: &Api, kind: Kind, id: &str) -> String {
        let mut known = self.0.lock().await;
        if !known.contains_key(id) {
            let name = kind.name(api, id).await.unwrap_or_else(|_| id.to_owned());
            known.insert(id.to_owned(), name);
        }
        known[id].clone()
    }
}

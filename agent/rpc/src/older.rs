//! Peers of an older version, as a simulation has them: agents that refuse what their version did not know yet, and do not
//! say what it did not say.
//!
//! What a version knew is in its [`Shapes`]: the members of all bodies, recorded while that version did whatever it could.
//! They do not know which values a member took, but for `kind` in what an agent is asked, which names a variant. There is one answer to what the
//! agents are for all clients of a process: in a simulation all parts run in one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use podzol_vocab::{ErrorCode, WireError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::CallError;
use crate::endpoint::Endpoint;
use crate::peer::PeerId;

/// The bodies that a version knew, by method and route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shapes(BTreeMap<String, Shape>);

/// The members of an endpoint's bodies, such as `plan.disks[].volume`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Shape {
    request: BTreeSet<String>,
    answer: BTreeSet<String>,
}

/// What the agents are.
#[derive(Debug)]
enum Agents {
    /// As they are, and what is said is written down.
    Recorded(Mutex<Shapes>),
    /// Of an older version, those of these peers.
    Older(Shapes, BTreeSet<String>),
}

static AGENTS: RwLock<Option<Arc<Agents>>> = RwLock::new(None);

/// Writes down what parts say to one another, until [`recorded`].
pub fn record() {
    set(Some(Agents::Recorded(Mutex::default())));
}

/// What was said since [`record`].
pub fn recorded() -> Shapes {
    let shapes = match agents().as_deref() {
        Some(Agents::Recorded(shapes)) => shapes.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        _ => Shapes::default(),
    };
    set(None);
    shapes
}

/// Has the agents of these peers be of the version with these shapes. What agents say to the management service is as that
/// version said it, whichever agent it is.
pub fn set_older(shapes: Shapes, peers: impl IntoIterator<Item = PeerId>) {
    set(Some(Agents::Older(shapes, peers.into_iter().map(|peer| peer.to_string()).collect())));
}

/// Has all agents be of this version.
pub fn set_current() {
    set(None);
}

fn set(agents: Option<Agents>) {
    *AGENTS.write().unwrap_or_else(PoisonError::into_inner) = agents.map(Arc::new);
}

fn agents() -> Option<Arc<Agents>> {
    AGENTS.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The request as it is sent to a peer, or how the peer refuses it.
pub(crate) fn request<E: Endpoint>(peer: PeerId, request: &E::Request) -> Result<Value, CallError> {
    let mut body = serde_json::to_value(request).expect("every request can be written as JSON");
    match agents().as_deref() {
        None => {}
        Some(Agents::Recorded(shapes)) => {
            note::<E>(shapes, |shape| &mut shape.request, &body, peer != PeerId::Management)
        }
        Some(Agents::Older(shapes, peers)) if peer == PeerId::Management => {
            if let Some(shape) = shapes.0.get(&name::<E>()).filter(|_| !peers.is_empty()) {
                keep_known(&mut body, &shape.request, "");
            }
        }
        Some(Agents::Older(shapes, peers)) if peers.contains(&peer.to_string()) => {
            let known = shapes.0.get(&name::<E>()).map(|shape| &shape.request);
            let rule = match known {
                None => Some("does not know this call: HTTP status 404 Not Found".to_owned()),
                Some(known) => unknown(&body, known).map(|member| format!("{member}: unknown field")),
            };
            if let Some(rule) = rule {
                return Err(CallError::Refused { peer, source: WireError::new(ErrorCode::Invalid, rule) });
            }
        }
        Some(Agents::Older(..)) => {}
    }
    Ok(body)
}

/// The answer of a peer as it says it.
pub(crate) fn answer<E: Endpoint>(peer: PeerId, answer: Vec<u8>) -> Vec<u8> {
    let (Some(agents), Ok(mut body)) = (agents(), serde_json::from_slice(&answer)) else { return answer };
    match &*agents {
        Agents::Recorded(shapes) => note::<E>(shapes, |shape| &mut shape.answer, &body, false),
        Agents::Older(shapes, peers) if peers.contains(&peer.to_string()) => {
            let shape = shapes.0.get(&name::<E>()).cloned().unwrap_or_default();
            keep_known(&mut body, &shape.answer, "");
        }
        Agents::Older(..) => {}
    }
    body.to_string().into_bytes()
}

fn name<E: Endpoint>() -> String {
    format!("{} {}", E::METHOD, E::ROUTE)
}

fn note<E: Endpoint>(
    shapes: &Mutex<Shapes>,
    side: impl Fn(&mut Shape) -> &mut BTreeSet<String>,
    body: &Value,
    variants: bool,
) {
    let mut shapes = shapes.lock().unwrap_or_else(PoisonError::into_inner);
    let members = side(shapes.0.entry(name::<E>()).or_default());
    each(body, "", variants, &mut |member| {
        members.insert(member);
        true
    });
}

/// Calls this for all members of a body, until it says no; whether it never did. With `variants`, which one `kind` names is
/// told too.
fn each(body: &Value, path: &str, variants: bool, found: &mut impl FnMut(String) -> bool) -> bool {
    match body {
        Value::Object(members) => members.iter().all(|(name, value)| {
            let member = member(path, name);
            let variant = value.as_str().filter(|_| variants && name == "kind");
            let told = variant.map_or_else(|| member.clone(), |variant| format!("{member}={variant}"));
            found(told) && each(value, &member, variants, found)
        }),
        Value::Array(items) => items.iter().all(|item| each(item, &format!("{path}[]"), variants, found)),
        _ => true,
    }
}

fn member(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The first member that is not known.
fn unknown(body: &Value, known: &BTreeSet<String>) -> Option<String> {
    let mut unknown = None;
    each(body, "", true, &mut |member| {
        let is_known = known.contains(&member);
        unknown = (!is_known).then_some(member);
        is_known
    });
    unknown
}

/// Takes out the members that are not known.
fn keep_known(body: &mut Value, known: &BTreeSet<String>, path: &str) {
    match body {
        Value::Object(members) => {
            members.retain(|name, _| known.contains(&member(path, name)));
            members.iter_mut().for_each(|(name, value)| keep_known(value, known, &member(path, name)));
        }
        Value::Array(items) => {
            items.iter_mut().for_each(|item| keep_known(item, known, &format!("{path}[]")))
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_version_did_not_know_is_found_and_taken_out() {
        let known = BTreeSet::from(["disks", "disks[].name", "disks[].kind=nfs"].map(String::from));
        let old = json!({ "disks": [{ "name": "a", "kind": "nfs" }, {}] });
        assert_eq!(unknown(&old, &known), None);
        let mut new = json!({ "disks": [{}, { "name": "b", "port": { "tcp": 1 } }] });
        assert_eq!(unknown(&new, &known).as_deref(), Some("disks[].port"));
        let variant = json!({ "disks": [{ "kind": "rbd" }] });
        assert_eq!(unknown(&variant, &known).as_deref(), Some("disks[].kind=rbd"));
        keep_known(&mut new, &known, "");
        assert_eq!(new, json!({ "disks": [{}, { "name": "b" }] }));
    }
}

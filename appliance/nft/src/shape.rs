//! What does not change with the document: tables, definitions of sets, chains and their rules.
//!
//! It is compared with what was listed right after the skeleton was loaded, not with text that is kept here: how a rule
//! is listed differs between versions of nft(8).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::Value;

use crate::ruleset::COUNT;

/// The tables that the skeleton makes, by family and name.
const OURS: [(&str, &str); 3] = [("ip", "podzol"), ("ip6", "podzol"), ("inet", "podzol_count")];

/// All that nft(8) lists but elements of sets, balancers' chains, and what changes by itself (handles and counters).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shape(BTreeMap<Table, Objects>);

/// Family and name.
type Table = (String, String);

/// The definitions of a table's objects by what they are: the kind and the name, or a rule's chain and number there.
type Objects = BTreeMap<String, String>;

impl Shape {
    /// What differs between the two, one line each, for a log.
    pub fn differences(&self, good: &Self) -> Vec<String> {
        let tables: BTreeSet<&Table> = self.0.keys().chain(good.0.keys()).collect();
        tables
            .into_iter()
            .flat_map(|table| differences_of(table, self.0.get(table), good.0.get(table)))
            .collect()
    }

    /// What has to come before [`crate::Ruleset::whole`] in its transaction to make this as good as the other: removes
    /// the tables that are not Podzol's, and that of the counters if somebody changed it, for the other two are made anew
    /// anyway.
    pub fn removal(&self, good: &Self) -> String {
        let mut text = String::new();
        for (table, objects) in &self.0 {
            let (family, name) = (table.0.as_str(), table.1.as_str());
            let is_made_anew = name == "podzol" && OURS.contains(&(family, name));
            if !is_made_anew && good.0.get(table) != Some(objects) {
                let _ = writeln!(text, "delete table {family} {name}");
            }
        }
        text
    }

    /// Whether the table of the counters is as good as the other.
    pub(crate) fn counts_like(&self, good: &Self) -> bool {
        let of = |shape: &Self| shape.0.get(&("inet".to_owned(), COUNT.to_owned())).cloned();
        of(self) == of(good)
    }

    /// Adds what is listed.
    pub(crate) fn add(&mut self, kind: &str, body: &mut Value) {
        let name = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        let table = (name("family"), name(if kind == "table" { "name" } else { "table" }));
        let objects = self.0.entry(table).or_default();
        let key = if kind == "rule" {
            let chain = format!("rule {} ", name("chain"));
            let number = objects.keys().filter(|key| key.starts_with(&chain)).count();
            format!("{chain}{number}")
        } else {
            format!("{kind} {}", name("name"))
        };
        normalise(body);
        objects.insert(key, body.to_string());
    }
}

fn differences_of((family, table): &Table, found: Option<&Objects>, good: Option<&Objects>) -> Vec<String> {
    let (found, good) = match (found, good) {
        (Some(found), Some(good)) => (found, good),
        (_, None) => return vec![format!("table {family} {table} is not Podzol's")],
        (None, _) => return vec![format!("table {family} {table} is missing")],
    };
    let keys: BTreeSet<&String> = found.keys().chain(good.keys()).collect();
    let differ = keys.into_iter().filter(|key| found.get(*key) != good.get(*key));
    let line = |key: &String| {
        let (is, should) = (found.get(key), good.get(key));
        let text = |definition: Option<&String>| definition.map_or("nothing", String::as_str).to_owned();
        format!("{family} {table}, {key}: is {}, should be {}", text(is), text(should))
    };
    differ.map(line).collect()
}

/// Takes away what changes by itself, and sorts sets that have no order.
fn normalise(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for transient in ["handle", "elem", "packets", "bytes"] {
                fields.remove(transient);
            }
            fields.values_mut().for_each(normalise);
            if let Some(Value::Array(elements)) = fields.get_mut("set") {
                elements.sort_by_key(Value::to_string);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(normalise),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shape(objects: &[(&str, Value)]) -> Shape {
        let mut shape = Shape::default();
        for (kind, body) in objects {
            shape.add(kind, &mut body.clone());
        }
        shape
    }

    fn table(family: &str, name: &str) -> (&'static str, Value) {
        ("table", json!({ "family": family, "name": name, "handle": 1 }))
    }

    fn rule(handle: u32, expression: Value) -> (&'static str, Value) {
        let body = json!({ "family": "ip", "table": "podzol", "chain": "input", "handle": handle, "expr": [expression] });
        ("rule", body)
    }

    #[test]
    fn handles_elements_and_the_order_of_sets_make_no_difference() {
        let set = |elements: Value| {
            ("set", json!({ "family": "ip", "table": "podzol", "name": "guests", "elem": elements }))
        };
        let one = [table("ip", "podzol"), set(json!(["eth0"])), rule(7, json!({ "set": ["lo", "eth1"] }))];
        let other = [table("ip", "podzol"), set(json!([])), rule(9, json!({ "set": ["eth1", "lo"] }))];
        assert_eq!(shape(&one), shape(&other));
    }

    #[test]
    fn rules_that_changed_places_make_a_difference() {
        let (accept, drop) = (json!({ "accept": null }), json!({ "drop": null }));
        let good = shape(&[rule(1, accept.clone()), rule(2, drop.clone())]);
        let found = shape(&[rule(3, drop), rule(1, accept)]);
        assert_eq!(found.differences(&good).len(), 2);
        assert_eq!(found.removal(&good), "");
    }

    #[test]
    fn foreign_tables_and_changed_counting_are_removed() {
        let good = shape(&[table("ip", "podzol"), table("inet", "podzol_count"), table("ip6", "podzol")]);
        let stray =
            ("chain", json!({ "family": "inet", "table": "podzol_count", "name": "stray", "handle": 4 }));
        let found =
            shape(&[table("ip", "podzol"), table("inet", "podzol_count"), stray, table("inet", "filter")]);
        assert_eq!(found.removal(&good), "delete table inet filter\ndelete table inet podzol_count\n");
        let lines = found.differences(&good);
        assert!(lines.contains(&"table inet filter is not Podzol's".to_owned()), "{lines:?}");
        assert!(lines.contains(&"table ip6 podzol is missing".to_owned()), "{lines:?}");
        assert_eq!(good.differences(&good), Vec::<String>::new());
    }
}

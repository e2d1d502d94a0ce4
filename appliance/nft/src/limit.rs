//! How many connections a VM may have begun: one rule in each family, which counts them by the VM's address.

use std::fmt;

use podzol_appliance_api::{Document, Limits};
use serde_json::Value;

/// The chain of the rule, in the tables of both families.
const CHAIN: &str = "limited";

/// The families, with the names of addresses in their rules.
const FAMILIES: [&str; 2] = ["ip", "ip6"];

/// The most connections that an address of a VM may have begun. Of rules that are none of ours it is 0, which no document has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit(u32);

/// What the skeleton has.
impl Default for Limit {
    fn default() -> Self {
        Self(Limits::default().connections_per_vm)
    }
}

/// The script that makes the rules. With a rule goes what it has counted: each element has the number that was in force when it
/// was made.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for family in FAMILIES {
            writeln!(f, "flush chain {family} podzol {CHAIN}")?;
            writeln!(f, "flush set {family} podzol connections")?;
            let rule = format_args!("add @connections {{ {family} saddr ct count over {} }} drop", self.0);
            writeln!(f, "add rule {family} podzol {CHAIN} {rule}")?;
        }
        Ok(())
    }
}

impl Limit {
    /// That of a document.
    pub(crate) fn of(document: &Document) -> Self {
        Self(document.limits().connections_per_vm)
    }

    /// Whether a listed rule should be one of these.
    pub(crate) fn is_in(rule: &Value) -> bool {
        let family = rule["family"].as_str();
        rule["chain"] == CHAIN
            && rule["table"] == "podzol"
            && family.is_some_and(|family| FAMILIES.contains(&family))
    }

    /// Takes it out of a listed rule, of which only that is left then which no document changes.
    pub(crate) fn taken(rule: &mut Value) -> Self {
        let number = rule.pointer_mut("/expr/0/set/stmt/0/ct count/val").map(Value::take);
        let number = number.and_then(|number| number.as_u64()?.try_into().ok());
        Self(number.unwrap_or(0))
    }

    /// That of all rules: they have the same.
    pub(crate) fn of_all(limits: &[Self]) -> Self {
        match limits {
            [first, others @ ..] if others.iter().all(|limit| limit == first) => *first,
            _ => Self(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_is_the_same_as_another_but_for_its_number() {
        let rule = |number| {
            json!({ "family": "ip6", "table": "podzol", "chain": "limited", "handle": 4, "expr": [
                { "set": { "op": "add", "elem": { "payload": { "protocol": "ip6", "field": "saddr" } },
                    "set": "@connections", "stmt": [{ "ct count": { "val": number, "inv": true } }] } },
                { "drop": null },
            ] })
        };
        let (mut one, mut other) = (rule(20), rule(4000));
        assert!(Limit::is_in(&one));
        let limits = [Limit::taken(&mut one), Limit::taken(&mut other)];
        assert_eq!(limits, [Limit(20), Limit(4000)]);
        assert_eq!(one, other);
        assert_eq!(Limit::of_all(&limits), Limit(0));
        assert_eq!(Limit::of_all(&limits[..1]), Limit(20));
    }

    #[test]
    fn the_skeleton_has_what_a_document_without_limits_says() {
        let skeleton = crate::skeleton();
        for family in FAMILIES {
            let rule =
                format!("add @connections {{ {family} saddr ct count over {} }} drop", Limit::default().0);
            assert!(skeleton.contains(&rule), "{rule}");
        }
    }
}

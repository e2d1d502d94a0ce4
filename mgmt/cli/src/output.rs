//! Tables for people.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use podzol_vocab::ByteSize;
use serde_json::{Map, Value};

use crate::things::Kind;

/// Prints text that may hold what a VM or a customer wrote: on a terminal without the characters that command it.
///
/// # Errors
/// What the operating system says; that nobody reads any more among it.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        out.write_all(harmless(text).as_bytes())?;
    } else {
        out.write_all(text.as_bytes())?;
    }
    out.flush()
}

fn harmless(text: &str) -> String {
    let kept = |letter: &char| !letter.is_control() || matches!(letter, '\n' | '\t');
    text.chars().filter(kept).collect()
}

/// Things in columns.
pub(crate) fn list(kind: Kind, things: &[Value]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    // A column in which nothing stands is left out, but for the first two.
    let shown: Vec<_> = kind
        .columns
        .iter()
        .enumerate()
        .filter(|(place, (_, field))| *place < 2 || things.iter().any(|thing| !text(thing, field).is_empty()))
        .map(|(_, column)| column)
        .collect();
    table.set_header(shown.iter().map(|(heading, _)| *heading));
    for thing in things {
        table.add_row(shown.iter().map(|(_, field)| text(thing, field)));
    }
    table.lines().map(|line| format!("{}\n", line.trim())).collect()
}

/// One thing, a line for each of its fields.
pub(crate) fn show(thing: &Value) -> String {
    let Value::Object(fields) = thing else { return format!("{thing}\n") };
    let mut text = String::new();
    let width = fields.keys().map(String::len).max().unwrap_or(0);
    for (field, value) in fields {
        // Writing to a string cannot fail.
        let _ = match value {
            value if says_nothing(value) => Ok(()),
            Value::Array(items) if items.iter().any(Value::is_object) => {
                let lines: String = items.iter().map(|item| format!("  - {}\n", one_line(item))).collect();
                write!(text, "{field}:\n{lines}")
            }
            Value::Object(_) if field == "report" => Ok(()),
            Value::Object(_) => writeln!(text, "{field:width$}  {}", one_line(value)),
            value => writeln!(text, "{field:width$}  {}", plain(field, value)),
        };
    }
    text
}

/// Whether a value is one that a person need not see: nothing, or a group of nothing.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => !fields.is_empty() && fields.values().all(Value::is_null),
        _ => false,
    }
}

/// What stands at a path such as `size.vcpus` or, through a list, `nics.address`.
fn text(thing: &Value, path: &str) -> String {
    let mut values = vec![thing];
    for part in path.split('.') {
        values = values
            .into_iter()
            .flat_map(|value| match value {
                Value::Array(items) => items.iter().collect(),
                value => vec![value],
            })
            .filter_map(|value| value.get(part))
            .collect();
    }
    let texts: Vec<String> = values.into_iter().map(|value| plain(path, value)).collect();
    texts.join(",")
}

fn plain(field: &str, value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) if field.ends_with("_bytes") => {
            ByteSize(number.as_u64().unwrap_or(0)).to_string()
        }
        Value::Array(items) => items.iter().map(|item| plain("", item)).collect::<Vec<_>>().join(","),
        // A limit, and who says so.
        Value::Object(limit) if limit.contains_key("from") => {
            format!("{} ({})", plain("", &limit["value"]), plain("", &limit["from"]))
        }
        Value::Object(fields) => pairs(fields).join(" "),
        value => value.to_string(),
    }
}

fn one_line(value: &Value) -> String {
    let Value::Object(fields) = value else { return plain("", value) };
    if let (Some(step), Some(micros)) = (fields.get("step"), fields.get("micros").and_then(Value::as_u64)) {
        return format!("{:<18} {:>9.1} ms", plain("", step), micros as f64 / 1000.0);
    }
    pairs(fields).join(", ")
}

fn pairs(fields: &Map<String, Value>) -> Vec<String> {
    let shown = fields.iter().filter(|(_, value)| !value.is_null());
    shown.map(|(field, value)| format!("{field} {}", plain(field, value))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_column_finds_its_value_through_objects_and_lists() {
        let vm = json!({"size": {"vcpus": 2}, "nics": [{"address": "10.1.1.2"}, {"address": "10.2.2.2"}], "host": null});
        assert_eq!(text(&vm, "size.vcpus"), "2");
        assert_eq!(text(&vm, "nics.address"), "10.1.1.2,10.2.2.2");
        assert_eq!(text(&vm, "host"), "");
        assert_eq!(text(&json!({"used_bytes": 1536}), "used_bytes"), "1.5 KiB");
    }

    #[test]
    fn what_says_nothing_is_left_out_and_a_limit_says_whose_it_is() {
        let limits = json!({"iops": {"value": 50, "from": "zone"}, "network_mbps": null});
        let vm = json!({"name": "web", "limits": limits, "quotas": {"vms": null}, "tags": []});
        assert_eq!(show(&vm), "limits  iops 50 (zone)\nname    web\n");
    }

    #[test]
    fn a_group_within_a_group_is_on_its_line() {
        let route = json!({"to": "10.9.0.0/16", "via": "10.0.0.1"});
        let zone = json!({"management": {"cidr": "10.0.0.0/24", "routes": [route]}});
        assert_eq!(show(&zone), "management  cidr 10.0.0.0/24, routes to 10.9.0.0/16 via 10.0.0.1\n");
    }

    #[test]
    fn what_a_vm_writes_does_not_command_the_terminal() {
        assert_eq!(harmless("a\tb\r\n\u{1b}]0;title\u{7}\u{9b}2Jc\n"), "a\tb\n]0;title2Jc\n");
    }
}

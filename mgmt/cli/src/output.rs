//! Tables for people.

use comfy_table::{ContentArrangement, Table, presets};
use podzol_vocab::ByteSize;
use serde_json::Value;

use crate::things::Kind;

/// Prints things in columns.
pub(crate) fn list(kind: Kind, things: &[Value]) {
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
    for line in table.lines() {
        println!("{}", line.trim());
    }
}

/// Prints one thing, a line for each of its fields.
pub(crate) fn show(thing: &Value) {
    let Value::Object(fields) = thing else { return println!("{thing}") };
    let width = fields.keys().map(String::len).max().unwrap_or(0);
    for (field, value) in fields {
        match value {
            Value::Null => {}
            Value::Array(items) if items.iter().any(Value::is_object) => {
                println!("{field}:");
                items.iter().for_each(|item| println!("  - {}", one_line(item)));
            }
            Value::Object(_) if field != "report" => println!("{field:width$}  {}", one_line(value)),
            Value::Object(_) => {}
            value => println!("{field:width$}  {}", plain(field, value)),
        }
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
        value => value.to_string(),
    }
}

fn one_line(value: &Value) -> String {
    let Value::Object(fields) = value else { return plain("", value) };
    if let (Some(step), Some(micros)) = (fields.get("step"), fields.get("micros").and_then(Value::as_u64)) {
        return format!("{:<18} {:>9.1} ms", plain("", step), micros as f64 / 1000.0);
    }
    let shown = fields.iter().filter(|(_, value)| !value.is_null());
    shown.map(|(field, value)| format!("{field} {}", plain(field, value))).collect::<Vec<_>>().join(", ")
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
}

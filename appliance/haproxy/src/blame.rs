//! What haproxy does not like about a configuration.

use std::fmt;

use crate::config::Config;

/// A field of the document, and what haproxy says of what was made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blame {
    /// The field, such as `http_balancers.0193….tls`.
    pub field: String,
    /// What haproxy says.
    pub says: String,
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: haproxy refuses it: {}", self.field, self.says)
    }
}

/// Whose fault it is that haproxy refuses a configuration, by what it wrote to standard error: by the line that it names,
/// such as in `[ALERT]    (7) : config : parsing [/run/x/1.cfg:23] : unknown keyword`, or else by the balancer.
pub fn blame(config: &Config, stderr: &str) -> Blame {
    let alerts = stderr.lines().filter(|line| line.starts_with("[ALERT]"));
    let first = alerts.clone().next().unwrap_or(stderr.lines().next().unwrap_or_default());
    let says = first.split_once(") : ").map_or(first, |(_, says)| says);
    let (place, says) = match says.split_once("] : ") {
        Some((place, rest)) if place.contains(" [") => (Some(place), rest),
        _ => (None, says),
    };
    let line = place.and_then(|place| place.rsplit_once(':')?.1.parse::<usize>().ok());
    let by_line = line.and_then(|line| config.fields.get(line.checked_sub(1)?));
    let named =
        || config.fields.iter().find(|field| field.split('.').nth(1).is_some_and(|id| first.contains(id)));
    let field = by_line.or_else(named).map_or("http_balancers", String::as_str);
    Blame { field: field.to_owned(), says: says.to_owned() }
}

//! Configuration files: TOML, with unknown keys refused, and all problems that can be known reported at once.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// It breaks rules; a line for each.
    #[error("{path} is not valid:\n  {}", problems.join("\n  "))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, each with the key it is about.
        problems: Vec<String>,
    },
}

/// Values that keep rules which no single one of them can check.
pub trait Check {
    /// The rules that are broken, each with its key.
    fn problems(&self) -> Vec<String>;
}

/// Gathers the rules that are broken.
#[derive(Debug, Default)]
pub struct Rules(Vec<String>);

impl Rules {
    /// Notes a problem, if this does not hold.
    pub fn must(&mut self, holds: bool, problem: &str) {
        if !holds {
            self.0.push(problem.to_owned());
        }
    }

    /// The problems.
    pub fn problems(self) -> Vec<String> {
        self.0
    }
}

/// Whether a text is `host:port`: a host name, an IPv4 address or an IPv6 address in brackets, and a port from 1.
pub fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && is_port(port))
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => text.parse::<Ipv4Addr>().is_ok() || is_host_name(text),
    }
}

/// RFC 1123, section 2.1. A last label of digits alone is what makes a text an address, and then a wrong one.
fn is_host_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let number = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    text.len() <= 253 && !number && text.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Reads a configuration file.
///
/// # Errors
/// When it cannot be read or breaks rules.
pub fn load<T: DeserializeOwned + Check>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(&text).map_err(|problems| ConfigError::Invalid { path: path.to_owned(), problems })
}

/// Reads a configuration text.
///
/// # Errors
/// All that is wrong with it: every unknown key, every value that cannot be read, the first key that is missing, and the
/// rules of [`Check`] that are broken, if those can be looked at: a key without a default must be readable for that.
pub fn parse<T: DeserializeOwned + Check>(text: &str) -> Result<T, Vec<String>> {
    let mut table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return Err(vec![error.to_string().trim().to_owned()]),
    };
    let (mut unknown, mut unreadable, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    // Reading ends at the first value that cannot be read; without it, the next one shows.
    loop {
        let mut track = serde_path_to_error::Track::new();
        let path_aware =
            serde_path_to_error::Deserializer::new(toml::Value::Table(table.clone()), &mut track);
        let value: Result<T, toml::de::Error> = serde_ignored::deserialize(path_aware, |key| {
            // A section that may be left out stands as a question mark in the path.
            let key = key.to_string().replace(".?", "");
            let problem = format!("{key}: is not a known key");
            if !unknown.contains(&problem) {
                unknown.push(problem);
            }
        });
        let (path, error) = match value {
            Ok(value) => {
                let problems = [unknown, unreadable, value.problems()].concat();
                return if problems.is_empty() { Ok(value) } else { Err(problems) };
            }
            Err(error) => (track.path(), error),
        };
        let is_left_out = |key: &String| error.message() == format!("missing field `{key}`");
        if !left_out.iter().any(is_left_out) {
            unreadable.push(match path.to_string().as_str() {
                "." => error.message().to_owned(),
                path => format!("{path}: {}", error.message()),
            });
        }
        match leave_out(&mut table, &path) {
            Some(key) => left_out.push(key),
            None => return Err([unknown, unreadable].concat()),
        }
    }
}

/// Takes the value at a path out of a table, the whole list if it is in one, and says under which key it was.
fn leave_out(mut table: &mut toml::Table, path: &serde_path_to_error::Path) -> Option<String> {
    use serde_path_to_error::Segment;
    let keys = path.iter().map_while(|segment| match segment {
        Segment::Map { key } => Some(key.as_str()),
        Segment::Seq { .. } | Segment::Enum { .. } | Segment::Unknown => None,
    });
    let keys: Vec<&str> = keys.collect();
    let (last, above) = keys.split_last()?;
    for key in above {
        table = table.get_mut(*key)?.as_table_mut()?;
    }
    table.remove(*last).map(|_| (*last).to_owned())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only how it is read matters here")]
    struct Config {
        port: u16,
        #[serde(default)]
        names: Vec<u8>,
        #[serde(default)]
        log: Log,
        more: Option<Log>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[allow(dead_code, reason = "only how it is read matters here")]
    struct Log {
        #[serde(default)]
        level: u8,
    }

    impl Check for Config {
        fn problems(&self) -> Vec<String> {
            (self.port == 0).then(|| "port: must not be 0".to_owned()).into_iter().collect()
        }
    }

    fn check(text: &str, expected: &[&str]) {
        let problems = parse::<Config>(text).map(|_| ()).err().unwrap_or_default();
        assert_eq!(problems, expected);
    }

    #[test]
    fn all_unknown_keys_and_broken_rules_are_reported_at_once() {
        check("port = 1", &[]);
        check(
            "prot = 1\nport = 0\n[log]\ncolour = 1\n[more]\ncolour = 1",
            &[
                "log.colour: is not a known key",
                "more.colour: is not a known key",
                "prot: is not a known key",
                "port: must not be 0",
            ],
        );
    }

    #[test]
    fn a_wrong_value_names_its_key() {
        check("port = 1\n[log]\nlevel = 256", &["log.level: invalid value: integer `256`, expected u8"]);
        check("", &["missing field `port`"]);
    }

    #[test]
    fn all_wrong_values_are_reported_at_once_with_all_unknown_keys_and_rules() {
        check(
            "names = [1, 'a', 'b']\nport = 0\nprot = 1\n[log]\nlevel = 'x'\ncolour = 1",
            &[
                "log.colour: is not a known key",
                "prot: is not a known key",
                "log.level: invalid type: string \"x\", expected u8",
                "names[1]: invalid type: string \"a\", expected u8",
                "port: must not be 0",
            ],
        );
        check(
            "port = 'x'\nprot = 1",
            &["prot: is not a known key", "port: invalid type: string \"x\", expected u16"],
        );
    }

    #[test]
    fn a_valid_text_gives_its_value() {
        assert_eq!(parse::<Config>("port = 7").unwrap().port, 7);
    }

    #[test]
    fn an_address_is_a_name_or_an_ip_address_and_a_port() {
        for good in [
            "mgmt:8444",
            "c-1.example.org.:1",
            "10.0.0.1:65535",
            "[fd00::1]:8444",
            "4mgmt:80",
            "localhost:80",
        ] {
            assert!(is_host_and_port(good), "{good}");
        }
        for bad in [
            "",
            "mgmt",
            ":8444",
            "mgmt:",
            "mgmt:0",
            "mgmt:+1",
            "mgmt:65536",
            "https://mgmt:8444",
            "a b:1",
            "a_b:1",
            "-a:1",
            "a..b:1",
            ".:1",
            "fd00::1:8444",
            "[mgmt]:8444",
            "[fd00::1:8444",
            "10.0.0.256:1",
            "user@mgmt:1",
            "mgmt/x:1",
        ] {
            assert!(!is_host_and_port(bad), "{bad}");
        }
    }
}

//! Configuration files: TOML, with unknown keys refused, and all problems that can be known reported at once.

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

/// Whether a text is `host:port`.
pub fn is_host_and_port(text: &str) -> bool {
    let port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    text.rsplit_once(':').is_some_and(|(host, number)| !host.is_empty() && port(number))
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
/// All the rules that it breaks: every unknown key, and the first value that cannot be read or the rules of
/// [`Check`].
pub fn parse<T: DeserializeOwned + Check>(text: &str) -> Result<T, Vec<String>> {
    let mut problems = Vec::new();
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return Err(vec![error.to_string().trim().to_owned()]),
    };
    let mut track = serde_path_to_error::Track::new();
    let path_aware = serde_path_to_error::Deserializer::new(toml::Value::Table(table), &mut track);
    let value: Result<T, toml::de::Error> =
        serde_ignored::deserialize(path_aware, |key| problems.push(format!("{key}: is not a known key")));
    match value {
        Ok(value) => problems.extend(value.problems()),
        Err(error) => problems.push(match track.path().to_string().as_str() {
            "." => error.message().to_owned(),
            path => format!("{path}: {}", error.message()),
        }),
    }
    if problems.is_empty() { parse_valid(text) } else { Err(problems) }
}

fn parse_valid<T: DeserializeOwned>(text: &str) -> Result<T, Vec<String>> {
    toml::from_str(text).map_err(|error| vec![error.to_string()])
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
        log: Log,
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
            "prot = 1\nport = 0\n[log]\ncolour = 1",
            &["log.colour: is not a known key", "prot: is not a known key", "port: must not be 0"],
        );
    }

    #[test]
    fn a_wrong_value_names_its_key() {
        check("port = 1\n[log]\nlevel = 256", &["log.level: invalid value: integer `256`, expected u8"]);
        check("", &["missing field `port`"]);
    }
}

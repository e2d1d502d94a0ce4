//! The Debian mirrors in the machine's own apt sources, in both forms: one line each (`.list`), and deb822 (`.sources`).
//! See sources.list(5).
//!
//! Of all sources, those are taken that carry Debian's `main` for the wanted release, its updates and its security fixes.
//! So backports, other components and other vendors' archives never get into an image.

use std::path::{Path, PathBuf};

use crate::files::{self, FileError};

/// Why there is nothing to fetch packages from.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// A sources file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// None of them fits.
    #[error("no apt source below {folder} has `{release} main`; add a Debian mirror", folder = folder.display())]
    None {
        /// Where they were looked for.
        folder: PathBuf,
        /// The Debian release.
        release: String,
    },
}

/// A place to fetch packages from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// Its addresses.
    pub uris: Vec<String>,
    /// The suites that are wanted from there.
    pub suites: Vec<String>,
    /// The key or key file that signs it, if it names one.
    pub signed_by: Option<String>,
}

impl Source {
    /// The source as a deb822 paragraph.
    pub fn paragraph(&self) -> String {
        let mut text = format!(
            "Types: deb\nURIs: {}\nSuites: {}\nComponents: main\n",
            self.uris.join(" "),
            self.suites.join(" ")
        );
        if let Some(key) = &self.signed_by {
            let blank = if key.starts_with('\n') { "" } else { " " };
            text.push_str(&format!("Signed-By:{blank}{key}\n"));
        }
        text
    }
}

/// The sources of a release below an apt configuration folder (`/etc/apt`).
///
/// # Errors
/// When a file cannot be read or no source has the release itself.
pub fn find(folder: &Path, release: &str) -> Result<Vec<Source>, SourcesError> {
    let mut found = Vec::new();
    let mut paths = vec![folder.join("sources.list")];
    paths.retain(|path| path.exists());
    paths.extend(files::list(&folder.join("sources.list.d"))?);
    for path in paths {
        let sources = match path.extension().and_then(|extension| extension.to_str()) {
            Some("list") => parse_lines(&files::read_text(&path)?),
            Some("sources") => parse_paragraphs(&files::read_text(&path)?),
            _ => continue,
        };
        found.extend(sources.into_iter().filter_map(|source| wanted(source, release)));
    }
    if !found.iter().any(|source| source.suites.iter().any(|suite| suite == release)) {
        return Err(SourcesError::None { folder: folder.to_owned(), release: release.to_owned() });
    }
    Ok(found)
}

fn wanted(mut source: Source, release: &str) -> Option<Source> {
    let suites = [release.to_owned(), format!("{release}-updates"), format!("{release}-security")];
    source.suites.retain(|suite| suites.contains(suite));
    (!source.suites.is_empty()).then_some(source)
}

/// Sources of the form `deb [signed-by=KEY] URI SUITE main …`.
fn parse_lines(text: &str) -> Vec<Source> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines.filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Source> {
    let rest =
        line.trim().strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '[']))?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    let key = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
    words.any(|component| component == "main").then(|| Source {
        uris: vec![uri.to_owned()],
        suites: vec![suite.to_owned()],
        signed_by: key.map(str::to_owned),
    })
}

/// Sources in paragraphs of `Key: value`.
fn parse_paragraphs(text: &str) -> Vec<Source> {
    // A comment line does not end a paragraph.
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).map(str::trim_end).collect();
    lines.split(|line| line.is_empty()).filter_map(parse_paragraph).collect()
}

fn parse_paragraph(lines: &[&str]) -> Option<Source> {
    let field = |name: &str| {
        let is_field =
            |line: &&str| line.split_once(':').is_some_and(|(key, _)| key.eq_ignore_ascii_case(name));
        let at = lines.iter().position(is_field)?;
        let mut value = lines[at].split_once(':')?.1.trim().to_owned();
        // Lines that begin with a blank go on with the value; a key in the file itself is such a one.
        for line in lines[at + 1..].iter().take_while(|line| line.starts_with([' ', '\t'])) {
            value.push('\n');
            value.push_str(line);
        }
        Some(value)
    };
    let words = |name: &str| -> Vec<String> {
        field(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    let has = |name: &str, word: &str| words(name).iter().any(|other| other == word);
    let disabled = ["no", "false", "0"].iter().any(|word| has("Enabled", word));
    (has("Types", "deb") && has("Components", "main") && !disabled).then(|| Source {
        uris: words("URIs"),
        suites: words("Suites"),
        signed_by: field("Signed-By"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAGRAPHS: &str = "Types: deb deb-src\n# a comment\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates \
        bookworm-backports\nComponents: main contrib\nSigned-By: /key.gpg\n\nTypes: deb\nURIs: http://other\n\
        Suites: bookworm\nComponents: stable\n\nTypes: deb\nEnabled: no\nURIs: http://off\nSuites: bookworm\nComponents: main\n";
    const LINES: &str = "# deb http://off bookworm main\ndeb [arch=amd64 signed-by=/k.gpg] http://mirror/security \
        bookworm-security main\ndeb http://mirror/debian bookworm main # the mirror\ndeb-src http://mirror/debian bookworm main\n";

    fn check(file: &str, text: &str, expected: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        files::write(&folder.path().join("sources.list.d").join(file), text).unwrap();
        let found = find(folder.path(), "bookworm").unwrap();
        assert_eq!(found.iter().map(Source::paragraph).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn only_main_of_the_release_its_updates_and_security_is_taken() {
        check(
            "debian.sources",
            PARAGRAPHS,
            &["Types: deb\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\n\
            Components: main\nSigned-By: /key.gpg\n"],
        );
        check(
            "debian.list",
            LINES,
            &[
                "Types: deb\nURIs: http://mirror/security\nSuites: bookworm-security\nComponents: main\nSigned-By: /k.gpg\n",
                "Types: deb\nURIs: http://mirror/debian\nSuites: bookworm\nComponents: main\n",
            ],
        );
    }

    #[test]
    fn a_key_inside_the_file_stays_whole() {
        let text =
            "Types: deb\nURIs: u\nSuites: bookworm\nComponents: main\nSigned-By:\n -----BEGIN\n .\n abc\n";
        check("inline.sources", text, &[text]);
    }

    #[test]
    fn a_machine_without_a_mirror_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let text = find(folder.path(), "bookworm").unwrap_err().to_string();
        assert!(text.ends_with("has `bookworm main`; add a Debian mirror"), "{text}");
    }
}

//! Paths of requests.

use http::StatusCode;

/// Longer than any path that there is here, and short enough to be read for anybody.
const MAX_BYTES: usize = 1024;

/// A path, decoded. Segments are looked up by name and never joined, so `..` or an encoded slash leads nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// Its segments. Empty ones are left out: clients that join a base with a path make double slashes.
    pub(crate) segments: Vec<String>,
    /// Whether it ends in a slash, as those of directories do.
    pub(crate) ends_in_slash: bool,
}

impl Path {
    /// Reads it.
    ///
    /// # Errors
    /// The status to refuse it with: 414 for a path of more than 1024 bytes, 400 for one that does not begin with a
    /// slash or that is not properly encoded UTF-8 (RFC 3986, 2.1).
    pub(crate) fn parse(path: &str) -> Result<Self, StatusCode> {
        if path.len() > MAX_BYTES {
            return Err(StatusCode::URI_TOO_LONG);
        }
        if !path.starts_with('/') {
            return Err(StatusCode::BAD_REQUEST);
        }
        let segments = path.split('/').filter(|segment| !segment.is_empty()).map(decode);
        let segments = segments.collect::<Option<_>>().ok_or(StatusCode::BAD_REQUEST)?;
        Ok(Self { segments, ends_in_slash: path.ends_with('/') })
    }
}

fn decode(segment: &str) -> Option<String> {
    let mut bytes = segment.bytes();
    let mut decoded = Vec::with_capacity(segment.len());
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            other => other,
        };
        decoded.push(byte);
    }
    String::from_utf8(decoded).ok().filter(|text| !text.chars().any(char::is_control))
}

fn digit(letter: u8) -> Option<u8> {
    char::from(letter).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_its_decoded_segments() {
        let path = Path::parse("/latest//meta-data/02%3A00/").unwrap();
        assert_eq!(path.segments, ["latest", "meta-data", "02:00"]);
        assert!(path.ends_in_slash);
        assert!(!Path::parse("/latest").unwrap().ends_in_slash);
        assert_eq!(Path::parse("/a%2Fb").unwrap().segments, ["a/b"]);
    }

    #[test]
    fn wrong_encodings_are_refused() {
        for path in ["/%", "/%2", "/%2g", "/%+1", "/%ff", "/%00", "/%0a", "latest", ""] {
            assert_eq!(Path::parse(path), Err(StatusCode::BAD_REQUEST), "{path}");
        }
    }

    #[test]
    fn a_path_of_1025_bytes_is_too_long() {
        assert!(Path::parse(&format!("/{}", "a".repeat(1023))).is_ok());
        assert_eq!(Path::parse(&format!("/{}", "a".repeat(1024))), Err(StatusCode::URI_TOO_LONG));
    }
}

//! What the API answered.

use serde_json::Value;

/// The text of a field of an object.
///
/// # Panics
/// When there is no such field, or it is no text.
pub fn text(object: &Value, field: &str) -> String {
    let found = object.pointer(&format!("/{}", field.replace('.', "/"))).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("there is no text {field} in {object:#}")).to_owned()
}

/// An answer of the API.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What was asked, for messages.
    pub request: String,
    /// The HTTP status.
    pub status: u16,
    /// The type of the body.
    pub content_type: String,
    /// After how many seconds to come again, if that is said.
    pub retry_after: Option<u64>,
    /// The body; null if there is none, and a string if it is no JSON.
    pub body: Value,
}

impl Answer {
    /// The body of a success.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{} -> {} {:#}", self.request, self.status, self.body);
        self.body
    }

    /// The problem document of a refusal with this status and code.
    ///
    /// # Panics
    /// When it is another answer.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Value {
        let found = (self.status, self.body["code"].as_str().unwrap_or_default());
        assert_eq!(found, (status, code), "{} -> {:#}", self.request, self.body);
        assert_eq!(self.content_type, "application/problem+json", "{}", self.request);
        self.body
    }
}

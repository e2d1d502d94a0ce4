//! Flow style: lists and maps in brackets, and quoted scalars. JSON is this.

use super::{Node, YamlError, inside};

/// A reader of flow style.
pub(super) struct Flow<'a> {
    rest: &'a str,
}

impl<'a> Flow<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// Reads the whole text as one value, nested so deep at most.
    pub(super) fn document(mut self, depth: usize) -> Result<Node, YamlError> {
        let node = self.value(depth)?;
        if self.rest.trim().is_empty() {
            Ok(node)
        } else {
            Err(YamlError::Unexpected(self.rest.trim().to_owned()))
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, YamlError> {
        if self.take('[') {
            let depth = inside(depth)?;
            let mut items = Vec::new();
            while !self.take(']') {
                items.push(self.value(depth)?);
                self.separator(']')?;
            }
            return Ok(Node::List(items));
        }
        if self.take('{') {
            let depth = inside(depth)?;
            let mut pairs = Vec::new();
            while !self.take('}') {
                let key = self.scalar(&[':'])?;
                if !self.take(':') {
                    return Err(YamlError::NoColon(key));
                }
                pairs.push((key, self.value(depth)?));
                self.separator('}')?;
            }
            return Ok(Node::Map(pairs));
        }
        self.scalar(&[',', ']', '}', '\n']).map(Node::Scalar)
    }

    fn take(&mut self, letter: char) -> bool {
        self.rest = self.rest.trim_start();
        self.rest.strip_prefix(letter).map(|rest| self.rest = rest).is_some()
    }

    fn separator(&mut self, close: char) -> Result<(), YamlError> {
        if self.take(',') || self.rest.starts_with(close) {
            Ok(())
        } else {
            Err(YamlError::NoSeparator(close))
        }
    }

    fn scalar(&mut self, ends: &[char]) -> Result<String, YamlError> {
        self.rest = self.rest.trim_start();
        if let Some(quote @ ('"' | '\'')) = self.rest.chars().next() {
            let (text, rest) = self.rest[1..].split_once(quote).ok_or(YamlError::OpenQuote)?;
            if quote == '"' && text.contains('\\') {
                return Err(YamlError::Escape);
            }
            self.rest = rest;
            return Ok(text.to_owned());
        }
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        if text.trim().is_empty() { Err(YamlError::Missing) } else { Ok(text.trim().to_owned()) }
    }
}

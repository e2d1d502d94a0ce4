//! A tree of data, in which paths are looked up as EC2's metadata service does: a directory gives the list of what is in
//! it, one name a line, with or without a slash at the end of the path; names of directories have a slash in the list; a
//! leaf with a slash after it is not there.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::path::Path;
use crate::response::Response;

/// A directory or what is in one. It holds a VM's data and so has no `Debug`.
pub(crate) enum Node {
    /// A value.
    Text(String),
    /// The owner's own bytes.
    Data(Bytes),
    /// Nodes by their names.
    Directory(BTreeMap<String, Node>),
    /// Nodes by their numbers from 0, listed as `0=name`.
    Numbered(Vec<(String, Node)>),
}

impl Node {
    pub(crate) fn text(value: impl ToString) -> Self {
        Self::Text(value.to_string())
    }

    /// A directory of those of these that there are.
    pub(crate) fn directory<const N: usize>(entries: [(&str, Option<Node>); N]) -> Self {
        let there = entries.into_iter().filter_map(|(name, node)| Some((name.to_owned(), node?)));
        Self::Directory(there.collect())
    }

    /// What is at these segments.
    pub(crate) fn find(&self, segments: &[String]) -> Option<&Self> {
        let Some((name, rest)) = segments.split_first() else { return Some(self) };
        let child = match self {
            Self::Directory(entries) => entries.get(name)?,
            Self::Numbered(entries) => {
                let index = entries.iter().enumerate().position(|(number, _)| number.to_string() == *name)?;
                &entries[index].1
            }
            Self::Text(_) | Self::Data(_) => return None,
        };
        child.find(rest)
    }

    /// The response to a path that led here.
    pub(crate) fn response(&self, path: &Path) -> Option<Response> {
        match self {
            Self::Text(_) | Self::Data(_) if path.ends_in_slash => None,
            Self::Text(text) => Some(Response::text(text.clone())),
            Self::Data(data) => Some(Response::data(data.clone())),
            Self::Directory(entries) => {
                let lines = entries.iter().map(|(name, node)| match node.is_directory() {
                    true => format!("{name}/"),
                    false => name.clone(),
                });
                Some(Response::text(lines.collect::<Vec<_>>().join("\n")))
            }
            Self::Numbered(entries) => {
                let lines = entries.iter().enumerate().map(|(number, (name, _))| format!("{number}={name}"));
                Some(Response::text(lines.collect::<Vec<_>>().join("\n")))
            }
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self, Self::Directory(_) | Self::Numbered(_))
    }
}

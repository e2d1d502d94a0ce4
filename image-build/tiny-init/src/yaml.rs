//! A reader for the part of YAML that cloud-init's files use: nested maps and lists by indentation, flow lists and
//! maps (so also JSON), quoted and plain scalars, comments. No anchors, tags, block scalars or multi-line scalars.

mod flow;

use flow::Flow;

/// Why a text cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum YamlError {
    #[error("unexpected `{0}`")]
    Unexpected(String),
    #[error("nested too deeply")]
    TooDeep,
    #[error("`{0}` is no `key: value`")]
    NotAPair(String),
    #[error("no `:` after `{0}`")]
    NoColon(String),
    #[error("no `,` or `{0}`")]
    NoSeparator(char),
    #[error("a quote is not closed")]
    OpenQuote,
    #[error("escapes are not supported")]
    Escape,
    #[error("a value is missing")]
    Missing,
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Stands for all that is absent, so that look-ups can be chained.
static NOTHING: Node = Node::Scalar(String::new());

/// Nesting allowed before the input is refused.
const DEPTH: usize = 32;

impl Node {
    /// The value of a key; an empty scalar if there is none.
    pub(crate) fn get(&self, key: &str) -> &Node {
        self.pairs().iter().find(|(name, _)| name == key).map_or(&NOTHING, |(_, value)| value)
    }

    /// The text of a scalar; empty for lists and maps.
    pub(crate) fn text(&self) -> &str {
        if let Self::Scalar(text) = self { text } else { "" }
    }

    /// The members of a list; empty for others.
    pub(crate) fn items(&self) -> &[Node] {
        if let Self::List(items) = self { items } else { &[] }
    }

    /// The entries of a map; empty for others.
    pub(crate) fn pairs(&self) -> &[(String, Node)] {
        if let Self::Map(pairs) = self { pairs } else { &[] }
    }
}

/// Parses a document.
pub(crate) fn parse(text: &str) -> Result<Node, YamlError> {
    if text.trim_start().starts_with(['{', '[']) {
        return Flow::new(text).document(DEPTH);
    }
    let mut lines = Vec::new();
    for line in text.lines() {
        let content = without_comment(line).trim_end();
        let indent = content.len() - content.trim_start_matches(' ').len();
        if !content.trim().is_empty() && content != "---" {
            lines.push((indent, content[indent..].to_owned()));
        }
    }
    let mut block = Block { lines, at: 0 };
    let node = block.node(0, DEPTH)?;
    match block.lines.get(block.at) {
        Some((_, line)) => Err(YamlError::Unexpected(line.clone())),
        None => Ok(node),
    }
}

/// How deep nesting may go inside of a list or a map.
fn inside(depth: usize) -> Result<usize, YamlError> {
    depth.checked_sub(1).ok_or(YamlError::TooDeep)
}

/// Cuts a comment: a `#` at the start or after a space, outside of quotes.
fn without_comment(line: &str) -> &str {
    let (mut quote, mut before) = (None, ' ');
    for (at, letter) in line.char_indices() {
        match (quote, letter) {
            (None, '#') if before == ' ' => return &line[..at],
            (None, '"' | '\'') if " [{,:-".contains(before) => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            _ => {}
        }
        before = letter;
    }
    line
}

/// Splits `key: value`; `None` when the text is a plain scalar.
fn key_value(text: &str) -> Option<(String, &str)> {
    if text.starts_with(['[', '{']) {
        return None;
    }
    if let Some(quote @ ('"' | '\'')) = text.chars().next() {
        let (key, rest) = text[1..].split_once(quote)?;
        return rest.trim_start().strip_prefix(':').map(|rest| (key.to_owned(), rest.trim()));
    }
    let (key, rest) = text.split_once(": ").or_else(|| text.strip_suffix(':').map(|key| (key, "")))?;
    Some((key.trim().to_owned(), rest.trim()))
}

/// The lines of a document with their indents, and a position.
struct Block {
    lines: Vec<(usize, String)>,
    at: usize,
}

impl Block {
    /// Reads the value that starts at the present line, if that is indented by at least `least`.
    fn node(&mut self, least: usize, depth: usize) -> Result<Node, YamlError> {
        match self.lines.get(self.at) {
            Some((indent, line)) if *indent >= least => {
                let (indent, is_list) = (*indent, line == "-" || line.starts_with("- "));
                if is_list { self.list(indent, depth) } else { self.map_or_scalar(indent, depth) }
            }
            _ => Ok(NOTHING.clone()),
        }
    }

    fn list(&mut self, indent: usize, depth: usize) -> Result<Node, YamlError> {
        let depth = inside(depth)?;
        let mut items = Vec::new();
        while let Some((here, line)) = self.lines.get_mut(self.at) {
            if *here != indent || !(line == "-" || line.starts_with("- ")) {
                break;
            }
            // Replace the dash by a space: the rest is then an ordinary value with a larger indent.
            let rest = line[1..].trim_start().to_owned();
            if rest.is_empty() {
                self.at += 1;
            } else {
                *here += line.len() - rest.len();
                *line = rest;
            }
            items.push(self.node(indent + 1, depth)?);
        }
        Ok(Node::List(items))
    }

    fn map_or_scalar(&mut self, indent: usize, depth: usize) -> Result<Node, YamlError> {
        let depth = inside(depth)?;
        let mut pairs = Vec::new();
        while let Some((here, line)) = self.lines.get(self.at) {
            if *here != indent {
                break;
            }
            let Some((key, value)) = key_value(line).map(|(key, value)| (key, value.to_owned())) else {
                if !pairs.is_empty() {
                    return Err(YamlError::NotAPair(line.clone()));
                }
                let scalar = inline(line, depth)?;
                self.at += 1;
                return Ok(scalar);
            };
            self.at += 1;
            let node = if !value.is_empty() {
                inline(&value, depth)?
            } else if self
                .lines
                .get(self.at)
                .is_some_and(|(next, line)| *next == indent && line.starts_with('-'))
            {
                self.list(indent, depth)?
            } else {
                self.node(indent + 1, depth)?
            };
            pairs.push((key, node));
        }
        Ok(Node::Map(pairs))
    }
}

/// A value that stands on one line.
fn inline(text: &str, depth: usize) -> Result<Node, YamlError> {
    if text.starts_with(['[', '{', '"', '\'']) {
        return Flow::new(text).document(depth);
    }
    Ok(Node::Scalar(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "version: 2 # comment\nethernets:\n  nic0:\n    match: {macaddress: '52:54:00:00:00:01'}\n    \
        addresses:\n    - 10.0.0.5/24\n    - \"fd00::5/64\"\n    routes:\n      - to: default\n        via: 10.0.0.1\n    mtu: 1450\n";

    #[test]
    fn blocks_and_flows_mix() {
        let root = parse(BLOCK).unwrap();
        let nic = root.get("ethernets").get("nic0");
        assert_eq!(nic.get("match").get("macaddress").text(), "52:54:00:00:00:01");
        assert_eq!(nic.get("addresses").items().len(), 2);
        assert_eq!(nic.get("addresses").items()[1].text(), "fd00::5/64");
        assert_eq!(nic.get("routes").items()[0].get("via").text(), "10.0.0.1");
        assert_eq!(nic.get("mtu").text(), "1450");
    }

    #[test]
    fn json_is_yaml() {
        let root = parse("{\"a\": [1, {\"b\": \"x:y\"}],\n \"c\": true}\n").unwrap();
        assert_eq!(root.get("a").items()[1].get("b").text(), "x:y");
        assert_eq!(root.get("c").text(), "true");
    }

    #[test]
    fn errors_are_told() {
        assert!(parse("a: 1\nb\n").is_err());
        assert!(parse("[1, 2").is_err());
        assert!(parse("a: 'x\n").is_err());
        assert!(parse(&"[".repeat(100)).is_err());
    }

    fn check_depth(text: &str) {
        assert!(matches!(parse(text), Err(YamlError::TooDeep)), "{text}");
    }

    #[test]
    fn nesting_ends_in_every_style() {
        check_depth(&format!("{}x\n", "- ".repeat(100)));
        check_depth(&format!("a: {}x\n", "[".repeat(100)));
        let maps =
            |count: usize| -> String { (0..count).map(|at| format!("{}k:\n", " ".repeat(at))).collect() };
        check_depth(&maps(100));
        // The list of the last map stands at its key's own indent.
        for count in DEPTH - 2..DEPTH + 2 {
            let text = format!("{}{}- x\n", maps(count), " ".repeat(count - 1));
            assert_eq!(parse(&text).is_ok(), count < DEPTH - 1, "{count}");
        }
    }
}

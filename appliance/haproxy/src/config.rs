//! The configuration that a process of haproxy begins with.

use std::fmt::Write;
use std::str::FromStr;

use podzol_appliance_api::Method;
use podzol_vocab::{Invalid, LoadBalancerId, Secret};

use crate::model::{Balancer, Model, Shape, State};

/// The user and the group that haproxy runs as, which nobody else has: among those that Debian keeps for special uses
/// (policy, 9.2.2).
pub const USER: u32 = 65_080;

/// What stands in an empty place.
const NOBODY: &str = "0.0.0.0:1";

/// What all balancers have.
///
/// A member that accepts no connection is known as such after 2 s, and then another one is tried: clients do not notice.
/// A connection that has become another protocol's (WebSocket) may be silent for an hour. Idle connections of clients are
/// closed by a process that goes only with an answer, as a request could be on its way.
const DEFAULTS: &str = "\
defaults
  mode http
  timeout connect 2s
  timeout http-request 10s
  timeout http-keep-alive 15s
  timeout queue 5s
  timeout tunnel 1h
  timeout client-fin 30s
  timeout server-fin 30s
  retries 3
  option redispatch 1
  option contstats
  option idle-close-on-response
  option forwardfor
";

/// The folder of a process: a path of letters, digits, and the signs `/`, `.`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder(String);

impl Folder {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The empty folder in it that is all the process sees of the file system.
    pub fn root(&self) -> String {
        format!("{}/empty", self.0)
    }

    /// The socket that it takes commands on.
    pub fn socket(&self) -> String {
        format!("{}/socket", self.0)
    }

    fn certificate(&self, balancer: LoadBalancerId) -> String {
        format!("{}/{balancer}.pem", self.0)
    }
}

impl FromStr for Folder {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-');
        if !text.starts_with('/') || !text.bytes().all(inside) {
            return Err(Invalid::new("must be an absolute path of letters, digits, and the signs / . _ -"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// What a process begins with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The text.
    pub text: String,
    /// The files that it names. They have to be there while the text is read, and never after.
    pub certificates: Vec<Certificate>,
    /// The field that each line is of, the first line first.
    pub(crate) fields: Vec<String>,
}

/// A file with certificates and their key.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Its path.
    pub path: String,
    /// Its content.
    pub pem: Secret<String>,
}

impl Model {
    /// The configuration of a process with this folder, which has at most so many connections of clients.
    pub fn config(&self, folder: &Folder, connections: u32) -> Config {
        let mut config = Config { text: String::new(), certificates: Vec::new(), fields: Vec::new() };
        config.add("http_balancers", &global(folder, connections));
        config.add("http_balancers", DEFAULTS);
        for (id, balancer) in &self.balancers {
            let field = format!("http_balancers.{id}");
            config.add(&field, &format!("listen {id}\n"));
            config.add_bind(&field, folder, *id, &balancer.shape);
            config.add(&field, &rules(*id, &balancer.shape));
            config.add(&format!("{field}.members"), &places(balancer));
        }
        config
    }
}

impl Config {
    fn add(&mut self, field: &str, lines: &str) {
        self.text.push_str(lines);
        self.fields.extend(lines.lines().map(|_| field.to_owned()));
    }

    fn add_bind(&mut self, field: &str, folder: &Folder, id: LoadBalancerId, shape: &Shape) {
        let Shape { public, port, .. } = shape;
        let Some(tls) = &shape.tls else {
            return self.add(&format!("{field}.port"), &format!("  bind {public}:{port}\n"));
        };
        let path = folder.certificate(id);
        let line = format!("  bind {public}:{port} ssl crt {path} alpn h2,http/1.1\n");
        self.add(&format!("{field}.tls"), &line);
        // A text without a line's end is no reason to lose the key's first line.
        let pem = Secret::new(format!("{}\n{}\n", tls.certificates, tls.key.expose()));
        self.certificates.push(Certificate { path, pem });
    }
}

fn global(folder: &Folder, connections: u32) -> String {
    let (root, socket) = (folder.root(), folder.socket());
    format!(
        "global\n  uid {USER}\n  gid {USER}\n  chroot {root}\n\
         \x20 stats socket {socket} mode 600 level admin expose-fd listeners\n  stats timeout 1d\n\
         \x20 maxconn {connections}\n  nbthread 1\n  hard-stop-after 15m\n\
         \x20 ssl-default-bind-options ssl-min-ver TLSv1.2\n"
    )
}

fn rules(id: LoadBalancerId, shape: &Shape) -> String {
    let mut text = String::new();
    let method = match shape.method {
        Method::RoundRobin => "roundrobin",
        // So that one that comes or goes takes few clients from the others, and weights can change.
        Method::SourceHash => "source\n  hash-type consistent",
        Method::LeastLoad => "leastconn",
    };
    let proto = if shape.tls.is_some() { "https" } else { "http" };
    let (most, idle) = (shape.max_connections, shape.idle_secs);
    let _ = write!(
        text,
        "  maxconn {most}\n  timeout client {idle}s\n  timeout server {idle}s\n  balance {method}\n\
         \x20 http-request del-header X-Forwarded-For\n  http-request del-header Forwarded\n\
         \x20 http-request set-header X-Forwarded-Proto {proto}\n"
    );
    if let Some(name) = &shape.cookie {
        let secure = if shape.tls.is_some() { " secure" } else { "" };
        let _ = write!(
            text,
            "  cookie {name} insert indirect nocache httponly{secure} dynamic\n  dynamic-cookie-key {id}\n"
        );
    }
    text
}

fn places(balancer: &Balancer) -> String {
    let members = balancer.members.iter().map(|(place, state)| match state {
        State::Weight(weight) => format!("{place} weight {weight}"),
        State::Down => format!("{place} disabled"),
    });
    let empty = std::iter::repeat_with(|| format!("{NOBODY} disabled"));
    let all = members.chain(empty).take(balancer.shape.places);
    (1..).zip(all).map(|(number, place)| format!("  server {number} {place}\n")).collect()
}

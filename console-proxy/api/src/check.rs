//! The rules of documents and sessions that types alone do not hold.

use std::collections::BTreeSet;
use std::fmt;

use crate::document::Document;
use crate::limits::{
    IDLE_SECS, MAX_ADDRESSES, MAX_GRANT, MAX_NAME, MAX_ORIGINS, MAX_PEM, MAX_SERVERS, MAX_TICKET_KEYS,
    SESSIONS, TOKEN,
};
use crate::session::{Session, Upstream, UpstreamSecurity};

/// What is wrong with a document or session: which field, and which rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field, such as `servers.0193….port`.
    pub field: String,
    /// The rule, such as `must be 1 to 65535`.
    pub rule: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.rule)
    }
}

impl Document {
    /// All that is wrong with it, but for the certificate, which only TLS can read.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Found::default();
        found.must(
            self.servers.len() <= MAX_SERVERS,
            "servers",
            format_args!("must be at most {MAX_SERVERS}"),
        );
        let mut places = BTreeSet::new();
        for (id, server) in &self.servers {
            let field = |name: &'static str| fmt::from_fn(move |f| write!(f, "servers.{id}.{name}"));
            found.must(server.port > 0, field("port"), "must be 1 to 65535");
            let is_own = places.insert((server.address, server.port));
            found.must(is_own, field("port"), "must be no other server's at the same address");
            let rule = format_args!("must be {} to {}", SESSIONS.start(), SESSIONS.end());
            found.must(SESSIONS.contains(&server.max_sessions), field("max_sessions"), rule);
        }
        let mut keys = BTreeSet::new();
        let are_few = (1..=MAX_TICKET_KEYS).contains(&self.ticket_keys.len());
        let are_own = self.ticket_keys.iter().all(|key| keys.insert(key.id().to_string()));
        let rule = format_args!("must be 1 to {MAX_TICKET_KEYS}, each another");
        found.must(are_few && are_own, "ticket_keys", rule);
        let are_few = self.resume_origins.len() <= MAX_ORIGINS;
        found.must(are_few, "resume_origins", format_args!("must be at most {MAX_ORIGINS}"));
        let rule = format_args!("must be 1 to {MAX_PEM} bytes");
        found.must((1..=MAX_PEM).contains(&self.certificate.chain.len()), "certificate.chain", rule);
        found.must((1..=MAX_PEM).contains(&self.certificate.key.expose().len()), "certificate.key", rule);
        found.0
    }
}

impl Session {
    /// All that is wrong with it beside a document.
    pub fn problems(&self, document: &Document) -> Vec<Problem> {
        let mut found = Found::default();
        let is_there = document.servers.contains_key(&self.server);
        found.must(is_there, "server", "must be one of the document's");
        for (field, name) in [("vm_name", &self.vm_name), ("viewer", &self.viewer)] {
            let rule = format_args!("must be 1 to {MAX_NAME} characters, none of which controls anything");
            found.must(is_name(name), field, rule);
        }
        let rule = format_args!("must be {} to {}", IDLE_SECS.start(), IDLE_SECS.end());
        found.must(IDLE_SECS.contains(&self.idle_secs), "idle_secs", rule);
        let is_covered = document.resume_origins.iter().any(|origin| origin.covers(&self.resume.url));
        let is_plain =
            self.resume.url.len() <= 2048 && self.resume.url.bytes().all(|byte| byte.is_ascii_graphic());
        found.must(
            is_covered && is_plain,
            "resume.url",
            "must be below one of the document's resume_origins",
        );
        let rule = format_args!("must have {} to {} characters", TOKEN.start(), TOKEN.end());
        found.must(TOKEN.contains(&self.resume.token.expose().len()), "resume.token", rule);
        self.upstream.check(&mut found);
        let is_there = self.grant.is_some() || !matches!(self.upstream, Upstream::Agent { .. });
        found.must(is_there, "grant", "must be there for this upstream");
        let is_grant =
            |text: &String| text.len() <= MAX_GRANT && text.bytes().all(|byte| byte.is_ascii_graphic());
        let rule = format_args!("must be at most {MAX_GRANT} characters, each of ASCII's that show");
        found.must(self.grant.as_ref().is_none_or(is_grant), "grant", rule);
        found.0
    }
}

impl Upstream {
    fn check(&self, found: &mut Found) {
        match self {
            Self::Off => {}
            Self::Agent { addresses, .. } => {
                let rule = format_args!("must be 1 to {MAX_ADDRESSES}");
                found.must((1..=MAX_ADDRESSES).contains(&addresses.len()), "upstream.addresses", rule);
            }
            Self::Rfb { security, username, password, authority, .. } => {
                use UpstreamSecurity::{Vnc, X509None, X509Plain, X509Vnc};
                let needs = |ways: &[UpstreamSecurity]| security.iter().any(|way| ways.contains(way));
                found.must(!security.is_empty(), "upstream.security", "must not be empty");
                let has = password.is_some() || !needs(&[Vnc, X509Vnc, X509Plain]);
                found.must(has, "upstream.password", "must be there for this security");
                let has = username.is_some() || !needs(&[X509Plain]);
                found.must(has, "upstream.username", "must be there for this security");
                let has = authority.as_ref().is_some_and(|pem| pem.len() <= MAX_PEM);
                let rule = format_args!("must be there for this security, with at most {MAX_PEM} bytes");
                found.must(has || !needs(&[X509None, X509Vnc, X509Plain]), "upstream.authority", rule);
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

#[derive(Debug, Default)]
struct Found(Vec<Problem>);

impl Found {
    fn must(&mut self, holds: bool, field: impl fmt::Display, rule: impl fmt::Display) {
        if !holds {
            self.0.push(Problem { field: field.to_string(), rule: rule.to_string() });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use podzol_vocab::{AccountId, ConsoleServerId, Generation, Secret, VmId};

    use super::*;
    use crate::{Certificate, ProxyServer, Resume, Rights, TicketSigner};

    fn document() -> Document {
        let server =
            ProxyServer { address: Ipv4Addr::LOCALHOST.into(), port: 443, max_sessions: 50, draining: false };
        Document {
            generation: Generation(1),
            domain: "console.example.org".parse().unwrap(),
            certificate: Certificate { chain: "chain".into(), key: Secret::new("key".into()) },
            ticket_keys: vec![TicketSigner::new(&Secret::new([1; 32])).key()],
            resume_origins: vec!["https://cloud.example.org".parse().unwrap()],
            servers: [(ConsoleServerId::new(), server)].into(),
            nudge: true,
        }
    }

    fn session(document: &Document) -> Session {
        Session {
            generation: Generation(1),
            server: *document.servers.keys().next().unwrap(),
            vm: VmId::new(),
            vm_name: "web-1".into(),
            account: AccountId::new(),
            upstream: Upstream::Off,
            grant: None,
            rights: Rights::Control,
            viewer: "ada".into(),
            expires_unix: 1,
            idle_secs: 60,
            resume: Resume {
                url: "https://cloud.example.org/v1/console-sessions/resume".into(),
                token: Secret::new("t".repeat(43)),
            },
        }
    }

    fn check_document(change: impl Fn(&mut Document), expected: &str) {
        let mut document = document();
        change(&mut document);
        let found: Vec<String> = document.problems().iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(expected), "{found:?}");
    }

    fn check_session(change: impl Fn(&mut Session), expected: &str) {
        let document = document();
        let mut session = session(&document);
        change(&mut session);
        let found: Vec<String> = session.problems(&document).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(expected), "{found:?}");
    }

    #[test]
    fn a_document_and_a_session_that_keep_the_rules_have_no_problems() {
        let document = document();
        assert_eq!(document.problems(), []);
        assert_eq!(session(&document).problems(&document), []);
    }

    #[test]
    fn each_rule_of_a_document_names_its_field() {
        check_document(
            |document| document.servers.values_mut().for_each(|server| server.port = 0),
            ".port: must be 1",
        );
        check_document(
            |document| {
                let twin = document.servers.values().next().unwrap().clone();
                document.servers.insert(ConsoleServerId::new(), twin);
            },
            ".port: must be no other",
        );
        check_document(
            |document| document.servers.values_mut().for_each(|server| server.max_sessions = 0),
            ".max_sessions: must be 1 to 10000",
        );
        check_document(|document| document.ticket_keys.clear(), "ticket_keys: must be 1 to 4");
        check_document(|document| document.ticket_keys.push(document.ticket_keys[0]), "ticket_keys: ");
        check_document(|document| document.certificate.chain.clear(), "certificate.chain: ");
        check_document(|document| document.certificate.key = Secret::new(String::new()), "certificate.key: ");
    }

    #[test]
    fn each_rule_of_a_session_names_its_field() {
        check_session(|session| session.server = ConsoleServerId::new(), "server: must be one");
        check_session(|session| session.vm_name = "a\nb".into(), "vm_name: must be 1 to 128");
        check_session(|session| session.viewer.clear(), "viewer: must be 1 to 128");
        check_session(|session| session.idle_secs = 59, "idle_secs: must be 60 to 86400");
        check_session(|session| session.resume.url = "https://evil.example/".into(), "resume.url: ");
        check_session(|session| session.resume.token = Secret::new("short".into()), "resume.token: ");
        let rfb = |security: Vec<UpstreamSecurity>, password: Option<&str>| Upstream::Rfb {
            address: "a:5900".parse().unwrap(),
            security,
            username: None,
            password: password.map(|text| Secret::new(text.into())),
            authority: None,
            server_name: None,
        };
        check_session(|session| session.upstream = rfb(vec![], None), "upstream.security: ");
        check_session(
            |session| session.upstream = rfb(vec![UpstreamSecurity::Vnc], None),
            "upstream.password: ",
        );
        check_session(
            |session| session.upstream = rfb(vec![UpstreamSecurity::X509Vnc], Some("p")),
            "upstream.authority: ",
        );
    }
}

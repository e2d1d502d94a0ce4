use podzol_appliance_haproxy::{Blame, blame};

use crate::{PLAIN, SECURE, document, model};

fn check(alert: &str, field: &str, says: &str) {
    let config = model(&document()).config(&"/run/x".parse().unwrap(), 100);
    let stderr = format!(
        "[NOTICE]   (7) : haproxy version is 2.6.12\n[ALERT]    (7) : {alert}\n[ALERT]    (7) : more\n"
    );
    assert_eq!(blame(&config, &stderr), Blame { field: field.into(), says: says.into() });
}

/// The number of the first line that begins so.
fn line(beginning: &str) -> usize {
    let text = model(&document()).config(&"/run/x".parse().unwrap(), 100).text;
    text.lines().position(|line| line.trim_start().starts_with(beginning)).unwrap() + 1
}

#[test]
fn a_line_is_of_a_field() {
    let at = |beginning| format!("config : parsing [/run/x/1.cfg:{}] : no good.", line(beginning));
    check(&at("bind 203.0.113.10:80"), &format!("http_balancers.{PLAIN}.port"), "no good.");
    check(&at("bind 203.0.113.10:443"), &format!("http_balancers.{SECURE}.tls"), "no good.");
    check(&at("server 1"), &format!("http_balancers.{PLAIN}.members"), "no good.");
    check(&at("dynamic-cookie-key"), &format!("http_balancers.{SECURE}"), "no good.");
    check(&at("maxconn"), "http_balancers", "no good.");
}

#[test]
fn what_names_no_line_is_of_the_balancer_that_it_names() {
    let proxy = format!("config : Proxy '{SECURE}': no good.");
    check(&proxy, &format!("http_balancers.{SECURE}"), &proxy);
    check("Cannot chroot(/run/x).", "http_balancers", "Cannot chroot(/run/x).");
    check("config : parsing [/run/x/1.cfg:9999] : no good.", "http_balancers", "no good.");
}

//! The console domain's name server as a part of the program.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::service::{Service, api, configure, program};

/// A question for the domain's start of authority.
const QUERY: &[u8] = b"\x12\x67\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\
    \x07console\x07example\x03org\x00\x00\x06\x00\x01";

/// Adds a console domain with a name server at an address to a configuration file.
fn add_console(config: &Path, listen: SocketAddr) -> std::io::Result<()> {
    let section = format!(
        "[console]\ndomain = 'console.example.org'\napi_origin = 'https://cloud.example.org'\n[console.dns]\nlisten = ['{listen}']\n\
         name_servers = [{{ name = 'ns1.console.example.org', addresses = ['127.0.0.1'] }}]\n"
    );
    fs::OpenOptions::new().append(true).open(config)?.write_all(section.as_bytes())
}

#[tokio::test]
async fn it_answers_for_the_console_domain_and_counts_that() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (config, address) = configure(folder.path(), &data).unwrap();
    let dns = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    add_console(&config, dns).unwrap();
    let service = Service { process: program(&config).spawn().unwrap(), address };
    let admin = api(&service, &data).await;

    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    client.send_to(QUERY, dns).unwrap();
    let mut answer = [0; 512];
    client.recv(&mut answer).unwrap();

    assert_eq!(
        (&answer[..4], answer[7]),
        (&[0x12, 0x67, 0x84, 0][..], 1),
        "an authority's answer of one record"
    );
    let metrics = admin.get("/metrics").await.ok();
    let counted = "podzol_dns_queries_total{outcome=\"answered\",transport=\"udp\"} 1\n";
    assert!(metrics.as_str().unwrap().contains(counted), "{metrics}");
}

#[test]
fn it_does_not_start_where_it_cannot_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (config, _) = configure(folder.path(), &folder.path().join("data")).unwrap();
    // Of a network for documents (RFC 5737), which no machine has.
    add_console(&config, "192.0.2.1:5353".parse().unwrap()).unwrap();
    let output = program(&config).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("cannot listen for DNS at 192.0.2.1:5353"), "{said}");
}

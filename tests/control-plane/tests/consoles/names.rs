//! The names that links have, and that the domain's name server answers for.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use podzol_mgmt_dns::NameForm;

use super::*;

/// A port that nobody has, over UDP and TCP.
fn free_port() -> u16 {
    let found = std::iter::repeat_with(|| {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = tcp.local_addr().expect("it is bound").port();
        UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(port)
    });
    found.flatten().next().expect("a port is free")
}

/// All addresses that a name has, as dig prints them.
async fn dig(port: u16, name: &str) -> String {
    let mut dig = tokio::process::Command::new("dig");
    dig.args(["@127.0.0.1", "-p", &port.to_string(), "+short", name]);
    let output = dig.output().await.expect("dig of bind9-dnsutils runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("it prints text").trim().to_owned()
}

#[tokio::test]
async fn a_link_has_a_name_that_the_name_server_knows_written_or_opaque_as_it_is_configured() {
    for (form, names) in [(NameForm::Address, "203-0-113-10."), (NameForm::Opaque, "c-")] {
        let port = free_port();
        let dns = json!({
            "listen": [format!("127.0.0.1:{port}")],
            "name_servers": [{ "name": "ns1.console.example.org", "addresses": ["192.0.2.1"] }],
        });
        let world = World::with(|console| {
            console.names = form;
            console.dns = Some(serde_json::from_value(dns).expect("it is a name server"));
        })
        .await;

        let opened = world.open().await;

        let url = text(&opened, "url");
        let host = url.trim_start_matches("https://").split('/').next().unwrap_or_default();
        assert!(host.starts_with(names) && host.ends_with(".console.example.org"), "{url}");
        let proxies = world.proxies().await;
        assert_eq!(proxies.len(), 1, "{proxies:#?}");
        let address = text(&proxies[0], "address");
        assert_eq!(dig(port, host).await, address);
        assert!(form == NameForm::Address || !url.contains(&address.replace('.', "-")), "{url}");
        let session = world.machine(&proxies[0]).exchange(&url).expect("the link is good");
        assert_eq!(session.vm.to_string(), world.vm);
        // The other form is answered for too, so that links outlive a change of the configuration.
        assert_eq!(dig(port, "203-0-113-10.console.example.org").await, address);
    }
}

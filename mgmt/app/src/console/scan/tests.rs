use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::SystemTime;

use podzol_console_proxy_api::{Claims, TICKET_SECS, TicketSigner};
use podzol_mgmt_api::zone::{ManagementNetwork, PublicNetwork};
use podzol_mgmt_db::{Col, Db, JsonCol};
use podzol_mgmt_dns::{ConsoleNames, NameForm};
use podzol_rpc::{AddressBook, Client};
use podzol_vocab::{ConsoleProxyId, ConsoleSessionId, Name, Secret};

use super::*;
use crate::{Authority, Settings};

fn settings(folder: &std::path::Path) -> Settings {
    let (short, key) = (Duration::from_secs(2), Secret::new([7; 32]));
    let console = ConsoleSettings {
        names: ConsoleNames::new("console.example.org".parse().unwrap(), NameForm::Address, &key),
        api_origin: "https://cloud.example.org".parse().unwrap(),
        port: 443,
        sessions_per_server: 2,
        servers_per_proxy: 2,
        most_proxies: 4,
        reserve: 1,
        margin: 0,
        surplus_for: short,
        start_within: short,
        drain_within: short,
        session_idle: short,
        session_lifetime: short,
        nudge: true,
    };
    Settings {
        template_folder: folder.to_owned(),
        cpu_overcommit: 1,
        memory_overcommit_percent: 100,
        storage_overcommit: 1,
        silent_after: short,
        token_lifetime: short,
        leftover_after: short,
        start_deadline: short,
        expunge_after: short,
        events_kept: short,
        router_idle: short,
        router_connections_per_vm: 64,
        console: Some(console),
        api_requests_per_second: NonZeroU32::MIN,
        api_requests_at_once: NonZeroUsize::MIN,
    }
}

/// A management service with this database.
pub(in crate::console) fn app_in(folder: &std::path::Path, db: Db) -> App {
    let authority = Arc::new(Authority::open(&folder.join("authority")).unwrap());
    app_of(folder, db, &authority)
}

fn app_of(folder: &std::path::Path, db: Db, authority: &Arc<Authority>) -> App {
    let book = AddressBook::default();
    let peers = Client::new(&authority.own_identity(&[], &[]).unwrap(), book.clone()).unwrap();
    App::new(db, Arc::clone(authority), peers, book, settings(folder))
}

async fn zone_in(db: &Db) -> ZoneId {
    let json = |text: &str| serde_json::from_str(text).unwrap();
    let management: ManagementNetwork =
        serde_json::from_value(json(r#"{"cidr": "10.77.0.0/24", "ranges": ["10.77.0.9-10.77.0.10"]}"#))
            .unwrap();
    let public: PublicNetwork = serde_json::from_value(json(
        r#"{"cidr": "203.0.113.0/24", "gateway": "203.0.113.1", "ranges": ["203.0.113.10-203.0.113.19"]}"#,
    ))
    .unwrap();
    let row = zone::Model {
        id: Col(ZoneId::new()),
        name: "z".parse::<Name>().unwrap().into(),
        vlan_ranges: JsonCol(vec![]),
        vxlan_ranges: None,
        limits: None,
        spare_hosts: 0,
        created_at: 0,
        management: Some(JsonCol(management)),
        public: Some(JsonCol(public)),
    };
    let (tx, id) = (db.begin().await.unwrap(), row.id.0);
    tx.zone_create(row).await.unwrap();
    tx.commit().await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_management_servers_one_alone_scans_and_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("db")).await.unwrap();
    let zone = zone_in(&db).await;
    let authority = Arc::new(Authority::open(&folder.path().join("authority")).unwrap());
    let server = || app_of(folder.path(), db.clone(), &authority);
    let servers = [server(), server()];
    let scanning = servers.iter().flat_map(|server| [server, server]).map(|server| {
        let server = server.clone();
        tokio::spawn(async move {
            for _ in 0..50 {
                server.scan_consoles().await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    });
    join_all(scanning.collect::<Vec<_>>()).await;

    let counts = servers.map(|server| server.metrics().console_scans.get());
    assert!(counts.contains(&0) && counts.contains(&100), "{counts:?}");
    let scan = find::<scan::Entity>(db.reader(), zone).await.unwrap().unwrap();
    assert_eq!(scan.number, 100);
    assert!(scan.error.unwrap().contains("no template of these that is ready"));
}

#[tokio::test]
async fn when_the_one_that_scans_is_dead_another_one_does_and_what_the_first_still_decides_is_not_done() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("db")).await.unwrap();
    let zone = zone_in(&db).await;
    let authority = Arc::new(Authority::open(&folder.path().join("authority")).unwrap());
    let [first, second] = [(); 2].map(|()| app_of(folder.path(), db.clone(), &authority));
    let (mut old, _) = first.scan_begun(zone).await.unwrap().unwrap();
    assert!(second.scan_begun(zone).await.unwrap().is_none());

    // As after the time of its lease.
    let tx = db.begin().await.unwrap();
    let lease_until = now().0 - 1;
    tx.console_scan_update(scan::Model { lease_until, ..old.clone() }).await.unwrap();
    tx.commit().await.unwrap();
    let (new, _) = second.scan_begun(zone).await.unwrap().expect("the lease is free");
    assert_eq!((new.owner.as_str(), new.number), (&*second.here.owner, old.number + 1));
    assert!(first.scan_begun(zone).await.unwrap().is_none());

    let settings = first.settings.console.as_ref().unwrap();
    assert!(!first.scan_step(&mut old, &Step::StartProxy, settings).await.unwrap());
    assert_eq!(console::of_zone(db.reader(), zone).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_ticket_is_of_the_newest_key_that_its_proxy_was_told_of_and_no_secret_is_in_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("db")).await.unwrap();
    let app = app_in(folder.path(), db.clone());
    let (proxy, server, session) = (ConsoleProxyId::new(), ConsoleServerId::new(), ConsoleSessionId::new());
    app.renew_ticket_keys().await.unwrap();
    let old = app.ticket_signers().await.unwrap()[0].key();
    assert!(matches!(app.ticket(session, proxy, server).await, Err(AppError::Unavailable(_))));
    app.here.consoles.of(proxy).heard().ticket_keys = vec![old];
    let tx = db.begin().await.unwrap();
    tx.console_key_create(console::key::Model { number: 2, created_at: now().0 }).await.unwrap();
    tx.commit().await.unwrap();

    let signed = async || {
        let (ticket, expires) = app.ticket(session, proxy, server).await.unwrap();
        let unix = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        assert!((expires / 1000).abs_diff((unix + TICKET_SECS) as i64) <= 1);
        let keys: Vec<_> = app.ticket_signers().await.unwrap().iter().map(TicketSigner::key).collect();
        keys.into_iter().find(|key| Claims::verify(ticket.expose(), &[*key], unix).is_ok()).unwrap()
    };
    assert_eq!(signed().await, old);
    let new = app.ticket_signers().await.unwrap()[0].key();
    assert_ne!(new, old);
    app.here.consoles.of(proxy).heard().ticket_keys = vec![new, old];
    assert_eq!(signed().await, new);
    // Another start of the same installation makes the same keys.
    assert_eq!(app_in(folder.path(), db).ticket_signers().await.unwrap()[0].key(), new);
}

#[test]
fn a_start_that_failed_is_forgotten_when_a_server_opens_after_it() {
    let mut scan = scan::Model {
        zone_id: Col(ZoneId::new()),
        owner: String::new(),
        lease_until: 0,
        number: 0,
        surplus_since: None,
        error: None,
        failures: 0,
        failed_at: None,
        why_failed: None,
    };
    let opened = |opened_at| server::Model {
        id: Col(ConsoleServerId::new()),
        proxy_id: Col(ConsoleProxyId::new()),
        port: 443,
        max_sessions: 1,
        opened_at,
        draining_since: None,
        created_at: 0,
    };
    assert_eq!((hold::is_held(&scan), hold::why(&scan)), (false, None));
    hold::failed(&mut scan, "no disk");
    hold::failed(&mut scan, "no disk");
    let at = now().0;
    assert!(
        hold::is_held(&scan)
            && hold::why(&scan).unwrap().contains("2 console proxies did not start: no disk")
    );
    assert!(!hold::works(&mut scan, &[opened(None), opened(Some(at - 10_000))]) && hold::is_held(&scan));
    assert!(hold::works(&mut scan, &[opened(Some(at + 1))]) && !hold::is_held(&scan) && scan.failures == 0);
}

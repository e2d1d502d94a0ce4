use sea_orm::DbBackend;

use super::*;
use crate::sqlite::Connection;

#[tokio::test]
async fn rules_of_an_account_are_counted_without_a_look_at_those_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let connection = std::sync::Arc::new(Connection::open(&folder.path().join("db")).unwrap());
    crate::migration::bring_up_to_date(&connection).await.unwrap();
    let rules = others(Kind::EgressRule, AccountId::new(), ZoneId::new(), "");
    let mut statement = rules.build(DbBackend::Sqlite);
    statement.sql.insert_str(0, "EXPLAIN QUERY PLAN ");
    let steps = connection.query(&statement, usize::MAX).unwrap();
    let step: String = steps[0].try_get("", "detail").unwrap();
    assert!(step.contains("rules_by_account (account_id=? AND kind=?"), "{step}");
}
#[tokio::test]
async fn ten_thousand_rules_go_with_what_they_led_to_in_few_statements() {
    let folder = tempfile::tempdir().unwrap();
    let db = crate::Db::open(&folder.path().join("db")).await.unwrap();
    let tx = db.begin().await.unwrap();
    // There is nothing that they refer to; it is never committed.
    tx.reader().execute_unprepared("PRAGMA defer_foreign_keys = ON").await.unwrap();
    let (account, zone, nic) = (AccountId::new(), ZoneId::new(), NicId::new());
    for port in 0..10_000 {
        let row = Model {
            id: podzol_vocab::PortForwardId::new().to_string(),
            account_id: account.into(),
            zone_id: zone.into(),
            kind: JsonCol(Kind::PortForward),
            name: None,
            public_ip_id: None,
            network_id: None,
            transport: Some(JsonCol(Transport::Tcp)),
            first_port: Some(port),
            last_port: Some(port),
            spec: JsonCol(Spec::PortForward { nic, to_port: 80 }),
            created_at: 0,
            is_http: port == 9_999,
        };
        tx.rule_create(row).await.unwrap();
    }
    let statements = || tx.reader().done.lock().unwrap().len();
    let before = statements();

    let rules = of_nics(tx.reader(), &[nic]).await.unwrap();
    tx.rules_delete(&rules).await.unwrap();
    let event = |row: &Model| crate::event::NewEvent {
        action: "port-forward.delete",
        actor: "management".into(),
        account: Some(account),
        subject_kind: "port-forward",
        subject: row.id.clone(),
        detail: String::new(),
    };
    tx.events_create(rules.iter().map(event).collect()).await.unwrap();

    assert_eq!(rules.len(), 10_000);
    assert!(statements() - before <= 31, "{} statements", statements() - before);
    assert_eq!(of_nics(tx.reader(), &[nic]).await.unwrap(), vec![]);
    assert_eq!(of(tx.reader(), account, zone).await.unwrap(), vec![]);
    let events = crate::event::list(tx.reader(), None, Some(&rules[9_999].id), None, 0, 9).await.unwrap();
    assert_eq!(events[0].id, 10_000);
}

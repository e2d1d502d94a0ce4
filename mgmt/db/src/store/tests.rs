use podzol_mgmt_api::Timestamp;
use podzol_vocab::{HostId, Name, VmId};

use super::*;
use crate::{Reader, Taken, account, find, now};
use sea_orm::EntityTrait;

async fn database() -> (tempfile::TempDir, Db) {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("db")).await.unwrap();
    (folder, db)
}

fn account(name: String) -> account::Model {
    let Timestamp(created_at) = now();
    let name: Name = name.parse().unwrap();
    account::Model { id: AccountId::new().into(), name: name.into(), limits: None, quotas: None, created_at }
}

async fn is_there(db: &Db, row: &account::Model) -> bool {
    find::<account::Entity>(db.reader(), row.id).await.unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_transactions_that_commit_together_each_is_durable_or_leaves_nothing() {
    let (folder, db) = database().await;
    let mut tasks = Vec::new();
    for number in 0..120 {
        let (db, row) = (db.clone(), account(format!("a{number}")));
        tasks.push(tokio::spawn(async move {
            let tx = db.begin().await.unwrap();
            tx.account_create(row.clone()).await.unwrap();
            assert!(find::<account::Entity>(tx.reader(), row.id).await.unwrap().is_some());
            let stays = match number % 3 {
                0 => false,
                // The name is taken: this one fails, and those before and after it do not.
                1 => tx.account_create(account(format!("a{number}"))).await.is_ok(),
                _ => tx.commit().await.is_ok(),
            };
            assert_eq!(is_there(&db, &row).await, stays, "{number}");
            (row, stays)
        }));
    }
    let mut rows = Vec::new();
    for task in tasks {
        rows.push(task.await.unwrap());
    }
    assert_eq!(rows.iter().filter(|(_, stays)| *stays).count(), 40);
    let changes = db.changes_after(0, 500).await.unwrap();
    let seqs: Vec<i64> = changes.iter().map(|change| change.seq).collect();
    assert_eq!(seqs, (1..=40).collect::<Vec<_>>());
    db.close().await.unwrap();
    let db = Db::open(&folder.path().join("db")).await.unwrap();
    for (row, stays) in rows {
        assert_eq!(is_there(&db, &row).await, stays);
    }
    assert_eq!(change::after(db.reader(), 0, 500).await.unwrap(), changes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_is_not_left_to_somebody_who_waits_no_more() {
    let (_folder, db) = database().await;
    for number in 0..100 {
        let tx = db.begin().await.unwrap();
        tx.account_create(account(format!("a{number}"))).await.unwrap();
        let waiting = db.clone();
        let waits = tokio::spawn(async move { waiting.begin().await.map(drop) });
        tokio::task::yield_now().await;
        let commit = tokio::spawn(tx.commit());
        if number % 2 == 0 {
            tokio::task::yield_now().await;
        }
        waits.abort();
        let committed = tokio::time::timeout(Duration::from_secs(10), commit).await;
        committed.expect("it ends").unwrap().unwrap();
    }
}

#[tokio::test]
async fn while_another_program_writes_a_transaction_waits_and_nothing_else_does() {
    let (folder, db) = database().await;
    let other = Connection::open(&folder.path().join("db")).unwrap();
    other.begin(Duration::ZERO).unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(100), db.begin()).await;
    assert!(given_up.is_err(), "this runtime has one thread, which was not held up");
    let waiting = tokio::spawn({
        let db = db.clone();
        async move { db.begin().await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    other.roll_back();
    let tx = waiting.await.unwrap().unwrap();
    let row = account("late".into());
    tx.account_create(row.clone()).await.unwrap();
    tx.commit().await.unwrap();
    assert!(is_there(&db, &row).await);
}

#[tokio::test]
async fn what_a_transaction_wrote_it_reads_and_nobody_else_until_it_is_durable() {
    let (_folder, db) = database().await;
    let mut row = account("before".into());
    let tx = db.begin().await.unwrap();
    tx.account_create(row.clone()).await.unwrap();
    tx.commit().await.unwrap();
    let id = row.id;
    let name = async |db: &Db| find::<account::Entity>(db.reader(), id).await.unwrap().unwrap().name;
    assert_eq!(name(&db).await.to_string(), "before");
    let tx = db.begin().await.unwrap();
    row.name = "after".parse::<Name>().unwrap().into();
    tx.account_update(row.clone()).await.unwrap();
    let own = find::<account::Entity>(tx.reader(), row.id).await.unwrap().unwrap();
    assert_eq!((own.name.to_string(), name(&db).await.to_string()), ("after".into(), "before".into()));
    tx.commit().await.unwrap();
    assert_eq!(name(&db).await.to_string(), "after");
}

#[tokio::test]
async fn of_work_only_so_many_stand_in_line_before_a_call() {
    let (_folder, db) = database().await;
    let order = Arc::new(Mutex::new(vec![]));
    let holder = db.begin().await.unwrap();
    let mut tasks = vec![];
    let mut wait = |db: Db, name: String| {
        let order = Arc::clone(&order);
        tasks.push(tokio::spawn(async move {
            let tx = db.begin().await.unwrap();
            order.lock().unwrap().push(name.clone());
            tx.account_create(account(name)).await.unwrap();
            tx.commit().await.unwrap();
        }));
    };
    for number in 0..3 * BEHIND {
        wait(db.behind(), format!("work{number}"));
    }
    tokio::task::yield_now().await;
    wait(db.clone(), "call".into());
    tokio::task::yield_now().await;
    drop(holder);
    for task in tasks {
        task.await.unwrap();
    }
    let order = order.lock().unwrap().clone();
    assert_eq!(order.len(), 3 * BEHIND + 1);
    assert_eq!(order.iter().position(|name| name == "call"), Some(BEHIND), "{order:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_does_not_grow_without_bound_while_commits_go_on() {
    let (folder, db) = database().await;
    let write = |writer: usize| {
        let db = db.clone();
        tokio::spawn(async move {
            for number in 0..500 {
                let tx = db.begin().await.unwrap();
                tx.account_create(account(format!("a{writer}-{number}"))).await.unwrap();
                tx.commit().await.unwrap();
            }
        })
    };
    for writer in [0, 1, 2, 3].map(write) {
        writer.await.unwrap();
    }
    let log = std::fs::metadata(folder.path().join("db-wal")).unwrap().len();
    let written = db.counts().commits * 4096;
    assert!(log < 4 * checkpoints::MOST_PAGES * 4096 && log < written, "{log} bytes, of {written} at least");
    let found = account::Entity::find().all(db.reader()).await.unwrap();
    assert_eq!(found.len(), 4 * 500);
    db.close().await.unwrap();
}

#[tokio::test]
async fn what_is_not_counted_as_the_tables_have_it_is_found_and_counted_anew() {
    let (_folder, db) = database().await;
    let (host, vm) = (HostId::new(), VmId::new());
    assert_eq!(db.drift().await.unwrap(), []);
    db.reading.ledger.get().set_taken(vm, host, 2, 64);

    let found = db.drift().await.unwrap();
    let mut subjects: Vec<&str> = found.iter().map(|drift| drift.subject.as_str()).collect();
    subjects.sort_unstable();
    let mut expected = [vm.to_string(), host.to_string()];
    expected.sort_unstable();
    assert_eq!(subjects, expected);
    assert!(found.iter().all(|drift| drift.detail.ends_with("and the tables say nothing")), "{found:?}");

    db.count_anew().await.unwrap();
    assert_eq!(db.drift().await.unwrap(), []);
    assert_eq!(db.reader().ledger().taken(host), Taken::default());
}

#[tokio::test]
async fn a_commit_that_is_told_has_waited_for_the_disk() {
    let (_folder, db) = database().await;
    for number in 0..5 {
        let before = db.counts();
        let tx = db.begin().await.unwrap();
        tx.account_create(account(format!("a{number}"))).await.unwrap();
        tx.commit().await.unwrap();
        let after = db.counts();
        assert_eq!((after.commits, after.waits), (before.commits + 1, before.waits + 1));
    }
}

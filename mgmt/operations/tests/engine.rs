//! The engine with work of its own, on a real database.

#![allow(clippy::unwrap_used, reason = "in a test an error is a panic, in its helpers too")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use podzol_mgmt_api::operation::OperationState;
use podzol_mgmt_db::operation::Model;
use podzol_mgmt_db::{Col, Db, DbError, JsonCol, Tx, find, now, operation};
use podzol_mgmt_operations::{Engine, Outcome, Work};
use podzol_vocab::OperationId;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Work whose attempts at the subject `falls` panic so many times.
struct Falling {
    times: Mutex<u32>,
}

impl Work for Falling {
    type Error = DbError;

    async fn attempt(&self, operation: Model) -> Outcome {
        if operation.subject == "falls" {
            let mut times = self.times.lock().unwrap();
            if *times > 0 {
                *times -= 1;
                drop(times);
                panic!("as a test wants it");
            }
        }
        Outcome::Done
    }

    async fn gave_up(&self, _: &Tx, _: &Model, _: &str) -> Result<(), DbError> {
        Ok(())
    }
}

fn operation_on(subject: &str) -> Model {
    Model {
        id: Col(OperationId::new()),
        kind: "test".into(),
        account_id: None,
        subject_kind: "thing".into(),
        subject: subject.into(),
        goal: None,
        generation: None,
        queue: "one queue".into(),
        state: JsonCol(OperationState::Queued),
        step: None,
        attempts: 0,
        cancel_requested: false,
        error_code: None,
        error_detail: None,
        due_at: now().0,
        deadline_at: None,
        lease_owner: None,
        lease_until: None,
        created_at: now().0,
        finished_at: None,
    }
}

async fn ended(db: &Db, id: OperationId) -> Model {
    let look = async {
        loop {
            let row = find::<operation::Entity>(db.reader(), Col(id)).await.unwrap().unwrap();
            if row.finished_at.is_some() {
                return row;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), look).await.expect("the operation ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_panics_is_made_again_and_takes_nothing_along() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("db")).await.unwrap();
    let (falls, stands) = (operation_on("falls"), operation_on("stands"));
    let tx = db.begin().await.unwrap();
    tx.operation_create(falls.clone()).await.unwrap();
    tx.operation_create(stands.clone()).await.unwrap();
    tx.commit().await.unwrap();
    let stop = CancellationToken::new();
    let work = Arc::new(Falling { times: Mutex::new(2) });
    let engine = Engine::new(db.clone(), work, "test".into(), Arc::new(Notify::new()));

    let running = tokio::spawn(engine.run(stop.clone()));

    assert_eq!(ended(&db, stands.id.0).await.state.0, OperationState::Succeeded);
    let falls = ended(&db, falls.id.0).await;
    assert_eq!((falls.state.0, falls.attempts, falls.error_code), (OperationState::Succeeded, 3, None));
    assert_eq!((falls.lease_owner, falls.lease_until), (None, None));
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_held_or_waiting_when_the_clock_was_set_back_an_hour_is_taken_up_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("db")).await.unwrap();
    let ahead = now().0 + 3_600_000;
    let held = Model {
        lease_owner: Some("a service that died".into()),
        lease_until: Some(ahead),
        state: JsonCol(OperationState::Running),
        ..operation_on("held")
    };
    let waiting = Model { due_at: ahead, ..operation_on("waiting") };
    let tx = db.begin().await.unwrap();
    tx.operation_create(held.clone()).await.unwrap();
    tx.operation_create(waiting.clone()).await.unwrap();
    tx.commit().await.unwrap();
    let stop = CancellationToken::new();
    let work = Arc::new(Falling { times: Mutex::new(0) });
    let engine = Engine::new(db.clone(), work, "test".into(), Arc::new(Notify::new()));

    let running = tokio::spawn(engine.run(stop.clone()));

    for operation in [held, waiting] {
        assert_eq!(ended(&db, operation.id.0).await.state.0, OperationState::Succeeded);
    }
    stop.cancel();
    running.await.unwrap();
}

/// Work that gets nowhere with the subject `stuck`.
struct Stuck;

impl Work for Stuck {
    type Error = DbError;

    async fn attempt(&self, operation: Model) -> Outcome {
        if operation.subject == "stuck" {
            std::future::pending::<()>().await;
        }
        Outcome::Done
    }

    async fn gave_up(&self, _: &Tx, _: &Model, _: &str) -> Result<(), DbError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_operations_on_one_thing_keep_none_on_another_from_its_turn() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("db")).await.unwrap();
    let tx = db.begin().await.unwrap();
    for _ in 0..1000 {
        tx.operation_create(operation_on("stuck")).await.unwrap();
    }
    let free = operation_on("free");
    tx.operation_create(free.clone()).await.unwrap();
    tx.commit().await.unwrap();
    let stop = CancellationToken::new();
    let engine = Engine::new(db.clone(), Arc::new(Stuck), "test".into(), Arc::new(Notify::new()));

    let running = tokio::spawn(engine.run(stop.clone()));

    assert_eq!(ended(&db, free.id.0).await.state.0, OperationState::Succeeded);
    running.abort();
}

//! The way to a pool's folder, whose disk may not be there yet, or may not answer.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use podzol_storage_api::Contents;
use podzol_vocab::{ErrorCode, PoolId, WireError};

use crate::detached;
use crate::pool::{Pool, Space};

/// How long a disk has to answer before it is passed over. As long as it is between two reports.
const DISK: Duration = Duration::from_secs(5);

/// How long a disk has to say what is in a pool: the headers of all images are read.
const CONTENTS: Duration = Duration::from_secs(25);

/// Opens a pool once, when it is first asked for and can be opened.
#[derive(Debug)]
pub(super) struct Gate {
    id: PoolId,
    folder: PathBuf,
    owner: u32,
    opened: OnceLock<Arc<Pool>>,
    /// One at a time: two that open would remove what the other begins to make, and a disk that hangs keeps one thread
    /// and not all.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// The same for what takes longer, and waits for none of those.
    listing: Arc<tokio::sync::Mutex<()>>,
    patience: Duration,
}

impl Gate {
    /// The way to a pool that was made before.
    pub(super) fn new(id: PoolId, folder: PathBuf, owner: u32) -> Arc<Self> {
        Arc::new(Self {
            id,
            folder,
            owner,
            opened: OnceLock::new(),
            turn: Arc::default(),
            listing: Arc::default(),
            patience: DISK,
        })
    }

    /// The way to a pool that was made just now.
    pub(super) fn to(pool: Pool, owner: u32) -> Arc<Self> {
        let gate = Self::new(pool.id, pool.path().to_owned(), owner);
        gate.opened.get_or_init(|| Arc::new(pool));
        gate
    }

    /// The pool, opened if it was not yet.
    pub(super) async fn open(self: &Arc<Self>) -> Result<Arc<Pool>, WireError> {
        match self.opened.get() {
            Some(pool) => Ok(Arc::clone(pool)),
            None => self.ask(&self.turn, self.patience, Self::open_now).await,
        }
    }

    fn open_now(&self) -> Result<Arc<Pool>, WireError> {
        if let Some(pool) = self.opened.get() {
            return Ok(Arc::clone(pool));
        }
        let pool = Pool::open(self.id, &self.folder, self.owner);
        let pool = pool.map_err(|error| unavailable(&error.message))?;
        Ok(Arc::clone(self.opened.get_or_init(|| Arc::new(pool))))
    }

    /// The pool, opened if it was not yet, and its space.
    pub(super) async fn measure(self: &Arc<Self>) -> Result<(Arc<Pool>, Space), WireError> {
        self.ask(&self.turn, self.patience, |gate| {
            let pool = gate.open_now()?;
            let space = pool.space()?;
            Ok((pool, space))
        })
        .await
    }

    /// What is in the pool.
    pub(super) async fn contents(self: &Arc<Self>) -> Result<Contents, WireError> {
        self.ask(&self.listing, CONTENTS.max(self.patience), |gate| gate.open_now()?.contents()).await
    }

    /// Asks the disk. An answer that comes late is not lost for an opening: the next call finds the pool open.
    async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        turn: &Arc<tokio::sync::Mutex<()>>,
        patience: Duration,
        ask: impl FnOnce(&Self) -> Result<T, WireError> + Send + 'static,
    ) -> Result<T, WireError> {
        let (gate, turn) = (Arc::clone(self), Arc::clone(turn));
        let answer = async move {
            let turn = turn.lock_owned().await;
            detached::on_disk(move || {
                let _turn = turn;
                ask(&gate)
            })
            .await
        };
        let answered = tokio::time::timeout(patience, answer).await;
        answered.unwrap_or_else(|_| Err(unavailable("its disk has not answered yet")))
    }
}

fn unavailable(reason: &str) -> WireError {
    WireError::new(ErrorCode::Unavailable, format!("the pool cannot be used now: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_that_hangs_is_passed_over_and_keeps_one_thread() {
        let (folder, pool) = crate::testing::pool();
        let gate = Gate::new(pool.id, folder.path().join("pool"), crate::testing::owner());
        let gate = Arc::new(Gate { patience: Duration::from_millis(20), ..Arc::into_inner(gate).unwrap() });
        let hangs = Arc::clone(&gate.turn).lock_owned().await;
        for _ in 0..2 {
            assert_eq!(gate.open().await.unwrap_err().code, ErrorCode::Unavailable);
            assert_eq!(gate.measure().await.unwrap_err().code, ErrorCode::Unavailable);
        }
        drop(hangs);
        gate.open_now().unwrap();
        assert_eq!(gate.open().await.unwrap().id, pool.id);
    }
}

//! Whose turn it is to make or remove a pool: one at a time for each, so that a disk that hangs holds up no other pool's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use podzol_vocab::{ErrorCode, PoolId, WireError};
use tokio::sync::OwnedMutexGuard;

/// How long a turn is waited for: whoever has it waits for a disk.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Turns {
    turns: Mutex<BTreeMap<PoolId, Arc<tokio::sync::Mutex<()>>>>,
    /// The folders in which pools are being made, which are on no list yet.
    making: Arc<Mutex<BTreeMap<PoolId, PathBuf>>>,
}

/// A folder in which a pool is being made, until this is dropped.
#[derive(Debug)]
pub(super) struct Making {
    id: PoolId,
    making: Arc<Mutex<BTreeMap<PoolId, PathBuf>>>,
}

impl Turns {
    /// The turn to change a pool, until what this gives is dropped.
    ///
    /// # Errors
    /// When somebody has had it for long.
    pub(super) async fn of(&self, id: PoolId) -> Result<OwnedMutexGuard<()>, WireError> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(id).or_default())
        };
        let waited = tokio::time::timeout(PATIENCE, turn.lock_owned()).await;
        waited.map_err(|_| WireError::new(ErrorCode::Unavailable, "the pool's disk has not answered yet"))
    }

    /// Notes that a pool is being made in a folder. Only for who has its turn.
    ///
    /// # Errors
    /// With the pool that is being made in that folder, in one within it, or around it.
    pub(super) fn make(&self, id: PoolId, folder: &Path) -> Result<Making, PoolId> {
        let mut making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let meets = |other: &PathBuf| folder.starts_with(other) || other.starts_with(folder);
        if let Some((other, _)) = making.iter().find(|(_, other)| meets(other)) {
            return Err(*other);
        }
        making.insert(id, folder.to_owned());
        Ok(Making { id, making: Arc::clone(&self.making) })
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        self.making.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_pool_has_turns_of_its_own_which_are_not_waited_for_for_ever() {
        let (turns, [one, other]) = (Turns::default(), [PoolId::new(), PoolId::new()]);
        let held = turns.of(one).await.unwrap();
        turns.of(other).await.unwrap();
        assert_eq!(turns.of(one).await.unwrap_err().code, ErrorCode::Unavailable);
        drop(held);
        turns.of(one).await.unwrap();
        turns.of(other).await.unwrap();
        assert!(turns.turns.lock().unwrap().len() <= 2, "what nobody has is forgotten");
    }

    #[test]
    fn folders_in_which_pools_are_made_are_apart() {
        let (turns, [one, other]) = (Turns::default(), [PoolId::new(), PoolId::new()]);
        let making = turns.make(one, Path::new("/srv/a")).unwrap();
        for meets in ["/srv/a", "/srv/a/b", "/srv"] {
            assert_eq!(turns.make(other, Path::new(meets)).unwrap_err(), one, "{meets}");
        }
        turns.make(other, Path::new("/srv/ab")).unwrap();
        drop(making);
        turns.make(other, Path::new("/srv/a")).unwrap();
    }
}

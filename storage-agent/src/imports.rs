//! The imports of templates: those under way, and those that failed and of which nobody has heard yet.
//!
//! There is at most one of a template and pool, as all write to one file. An import takes itself off the table once the
//! pool has the template; from then on the pool alone says whether it is there. A failed one stays until somebody has
//! heard of it, and the next call tries anew.
//!
//! Bytes are in a pool once, as one format: who asks for the same ones as another is refused. Two templates with the same bytes
//! share an import, whatever their sources: if the one's source fails, the other's is tried. Refused: to have the later one
//! take the place of an import under way, as the two would stop each other again and again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use podzol_rpc::Client;
use podzol_storage_api::{TemplateFormat, TemplatePlan, TemplateSource, TemplateStatus};
use podzol_vocab::{ByteSize, PoolId, Sha256};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::import;
use crate::pool::{Pool, Template};

/// How long a source may send nothing before its import fails. A minute outlasts the restart of a web server.
const STALL: Duration = Duration::from_secs(60);

/// The longest that a call waits for an import.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How long a pool's disk has to answer.
const DISK: Duration = Duration::from_secs(5);

type Key = (PoolId, Sha256);

/// The imports. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Imports {
    client: Client,
    stall: Duration,
    table: Arc<Mutex<HashMap<Key, Import>>>,
    turns: Arc<Mutex<HashMap<PoolId, Arc<tokio::sync::Mutex<()>>>>>,
}

struct Import {
    format: TemplateFormat,
    source: TemplateSource,
    status: watch::Receiver<TemplateStatus>,
    task: AbortHandle,
}

impl Imports {
    /// No imports yet. Templates from the management service are got with this client.
    pub(crate) fn new(client: Client) -> Self {
        Self { client, stall: STALL, table: Arc::default(), turns: Arc::default() }
    }

    /// Brings a template into a pool; answers when it is there, has failed, or the time is up.
    pub(crate) async fn bring(&self, pool: Arc<Pool>, sha256: Sha256, plan: TemplatePlan) -> TemplateStatus {
        let key = (pool.id, sha256);
        let end = Instant::now() + Duration::from_millis(plan.wait_ms).min(LONGEST_WAIT);
        loop {
            let joined = self.join(Arc::clone(&pool), (sha256, plan.format), plan.source.clone()).await;
            let (mut status, is_own) = match joined {
                Ok(template) => return ready(template),
                Err(import) => import,
            };
            // An error says that its task is gone.
            let is_over = tokio::time::timeout_at(end, status.wait_for(is_end)).await.is_ok();
            if is_over {
                self.forget(key, &status);
            }
            let now = status.borrow().clone();
            if is_own || !matches!(now, TemplateStatus::Failed { .. }) {
                return now;
            }
        }
    }

    /// The template if it is there, else its import: the one under way, or a new one; and whether that is from this source.
    async fn join(
        &self,
        pool: Arc<Pool>,
        (sha256, format): (Sha256, TemplateFormat),
        source: TemplateSource,
    ) -> Result<Template, (watch::Receiver<TemplateStatus>, bool)> {
        let key = (pool.id, sha256);
        // Nothing else is begun in the pool meanwhile, and a disk that hangs keeps one thread.
        let Ok(turn) = tokio::time::timeout(DISK, self.turn_of(pool.id).lock_owned()).await else {
            return Err((no_answer(), true));
        };
        if let Some(import) = self.table().get(&key) {
            return Err(match import.format == format {
                true => (import.status.clone(), import.source == source),
                false => (other_format(), true),
            });
        }
        // After the table: what is not on it any more is in the pool.
        let of = Arc::clone(&pool);
        let looked = tokio::task::spawn_blocking(move || (of.template(sha256), turn));
        let Ok(Ok((found, _turn))) = tokio::time::timeout(DISK, looked).await else {
            return Err((no_answer(), true));
        };
        if let Some(template) = found {
            return if template.format == format { Ok(template) } else { Err((other_format(), true)) };
        }
        let mut table = self.table();
        let (sender, status) = watch::channel(TemplateStatus::Importing { done: ByteSize(0), total: None });
        let (imports, own, from) = (self.clone(), status.clone(), source.clone());
        let task = tokio::spawn(async move {
            let end =
                import::run(&pool, (sha256, format), from, &imports.client, imports.stall, &sender).await;
            if matches!(end, TemplateStatus::Ready { .. }) {
                imports.forget(key, &own);
            }
            sender.send_replace(end);
        });
        table.insert(key, Import { format, source, status: status.clone(), task: task.abort_handle() });
        Err((status, true))
    }

    /// Held while an import into a pool is begun.
    fn turn_of(&self, pool: PoolId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(pool).or_default())
    }

    /// Takes an import off the table: this very one, and none that has begun since.
    fn forget(&self, key: Key, status: &watch::Receiver<TemplateStatus>) {
        let mut table = self.table();
        if table.get(&key).is_some_and(|import| import.status.same_channel(status)) {
            table.remove(&key);
        }
    }

    /// Ends the imports into a pool that was closed.
    pub(crate) fn abort(&self, pool: PoolId) {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).remove(&pool);
        self.table().retain(|(of, _), import| {
            if *of == pool {
                import.task.abort();
            }
            *of != pool
        });
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Key, Import>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The status of what cannot be imported, as the same bytes are there as another format.
fn other_format() -> watch::Receiver<TemplateStatus> {
    let message = "format: must be what the pool has these bytes as already".to_owned();
    watch::channel(TemplateStatus::Failed { transient: false, message }).1
}

/// The status of what cannot be imported now, as the pool's disk does not answer.
fn no_answer() -> watch::Receiver<TemplateStatus> {
    let message = "the pool's disk has not answered yet".to_owned();
    watch::channel(TemplateStatus::Failed { transient: true, message }).1
}

/// The status of a template that is there.
pub(crate) fn ready(template: Template) -> TemplateStatus {
    TemplateStatus::Ready { size: template.size, virtual_size: template.virtual_size }
}

fn is_end(status: &TemplateStatus) -> bool {
    !matches!(status, TemplateStatus::Importing { .. })
}

#[cfg(test)]
mod tests {
    use sha2::Digest;

    use super::*;
    use crate::testing::{client, dripping, image, iso, pool, source, with_body};

    const LONG: u64 = 30_000;

    fn plan(source: TemplateSource, wait_ms: u64) -> TemplatePlan {
        TemplatePlan { source, format: TemplateFormat::Qcow2, signed: None, wait_ms }
    }

    fn impatient() -> Imports {
        Imports { stall: Duration::from_millis(400), ..Imports::new(client()) }
    }

    #[tokio::test]
    async fn a_source_that_sends_nothing_fails_and_is_tried_again() {
        let (_folder, pool) = pool();
        let (bytes, sha256) = image();
        let imports = impatient();
        let head_alone = with_body(&bytes)[..60].to_vec();
        for answer in [vec![], head_alone] {
            let stalled = source(answer).await;
            let status = imports.bring(Arc::clone(&pool), sha256, plan(stalled, LONG)).await;
            assert!(matches!(&status, TemplateStatus::Failed { transient: true, .. }), "{status:?}");
            assert!(imports.table().is_empty());
        }
        let imports = Imports::new(client());
        let good = plan(source(with_body(&bytes)).await, LONG);
        let status = imports.bring(Arc::clone(&pool), sha256, good).await;
        assert!(matches!(&status, TemplateStatus::Ready { .. }), "{status:?}");
        assert_eq!(std::fs::read(pool.path().join(format!("templates/{sha256}.qcow2"))).unwrap(), bytes);
    }

    #[tokio::test]
    async fn a_template_that_was_deleted_is_not_ready_because_it_once_was() {
        let (_folder, pool) = pool();
        let (bytes, sha256) = image();
        let imports = Imports::new(client());
        let good = source(with_body(&bytes)).await;
        let status = imports.bring(Arc::clone(&pool), sha256, plan(good, 0)).await;
        assert!(matches!(&status, TemplateStatus::Importing { .. }), "{status:?}");
        let under_way = imports.table().get(&(pool.id, sha256)).map(|import| import.status.clone());
        under_way.unwrap().wait_for(is_end).await.unwrap();

        pool.template_delete(sha256).unwrap();

        let silent = source(vec![]).await;
        let status = imports.bring(Arc::clone(&pool), sha256, plan(silent, 0)).await;
        assert!(matches!(&status, TemplateStatus::Importing { .. }), "{status:?}");
    }

    #[tokio::test]
    async fn a_call_that_was_slow_to_hear_of_a_failure_leaves_the_next_import_alone() {
        let (_folder, pool) = pool();
        let (_, sha256) = image();
        let imports = Imports::new(client());
        let wanted = (sha256, TemplateFormat::Qcow2);
        let first = imports.join(Arc::clone(&pool), wanted, source(vec![]).await).await.unwrap_err().0;
        imports.forget((pool.id, sha256), &first);
        let second = imports.join(Arc::clone(&pool), wanted, source(vec![]).await).await.unwrap_err().0;

        imports.forget((pool.id, sha256), &first);

        let third = imports.join(pool, wanted, source(vec![]).await).await.unwrap_err().0;
        assert!(third.same_channel(&second));
    }

    #[tokio::test]
    async fn what_the_pool_has_no_room_for_is_not_begun() {
        let (_folder, pool) = pool();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1_u64 << 60).into_bytes();
        let huge = plan(source(head).await, LONG);
        let status = Imports::new(client()).bring(Arc::clone(&pool), image().1, huge).await;
        let TemplateStatus::Failed { transient: false, message } = status else { panic!("{status:?}") };
        assert!(message.starts_with("it has 1024.0 PiB, and"), "{message}");
        assert_eq!(std::fs::read_dir(pool.path().join("incoming")).unwrap().count(), 0);
        pool.must_have_room(ByteSize(1)).unwrap();
    }

    #[tokio::test]
    async fn a_source_that_sends_hardly_anything_fails() {
        let (_folder, pool) = pool();
        let imports = Imports { stall: Duration::from_secs(2), ..Imports::new(client()) };
        let status = imports.bring(pool, image().1, plan(dripping().await, LONG)).await;
        let TemplateStatus::Failed { transient: true, message } = status else { panic!("{status:?}") };
        assert!(message.starts_with("its source has sent less than 1.0 MiB in"), "{message}");
    }

    #[tokio::test]
    async fn who_waits_for_a_source_that_fails_has_its_own_tried() {
        let (_folder, pool) = pool();
        let (bytes, sha256) = image();
        let imports = impatient();
        let silent = plan(source(vec![]).await, 0);
        let status = imports.bring(Arc::clone(&pool), sha256, silent.clone()).await;
        assert!(matches!(&status, TemplateStatus::Importing { .. }), "{status:?}");
        let good = plan(source(with_body(&bytes)).await, LONG);
        let status = imports.bring(Arc::clone(&pool), sha256, good).await;
        assert!(matches!(&status, TemplateStatus::Ready { .. }), "{status:?}");
        assert!(matches!(imports.bring(pool, sha256, silent).await, TemplateStatus::Ready { .. }));
    }

    /// Imports some bytes as an ISO.
    async fn import_iso(imports: &Imports, pool: &Arc<Pool>, bytes: &[u8]) -> (Sha256, TemplateStatus) {
        let sha256 = Sha256::from_bytes(sha2::Sha256::digest(bytes).into());
        let good = plan(source(with_body(bytes)).await, LONG);
        let plan = TemplatePlan { format: TemplateFormat::Iso, ..good };
        (sha256, imports.bring(Arc::clone(pool), sha256, plan).await)
    }

    #[tokio::test]
    async fn an_iso_gets_a_name_of_its_own_and_what_is_none_leaves_no_file() {
        let (_folder, pool) = pool();
        let imports = Imports::new(client());
        let (sha256, status) = import_iso(&imports, &pool, &iso()).await;
        let size = ByteSize(iso().len() as u64);
        assert_eq!(status, TemplateStatus::Ready { size, virtual_size: size });
        assert_eq!(std::fs::read(pool.path().join(podzol_storage_api::iso_file(sha256))).unwrap(), iso());
        let too_short = iso()[..iso().len() - 2048].to_vec();
        for (bad, reason) in
            [(image().0, "no ISO 9660 image"), (too_short, "bytes of the"), (vec![], "no ISO")]
        {
            match import_iso(&imports, &pool, &bad).await.1 {
                TemplateStatus::Failed { transient: false, message } => {
                    assert!(message.contains(reason), "{message}");
                }
                status => panic!("{status:?}"),
            }
        }
        let files = |part: &str| std::fs::read_dir(pool.path().join(part)).unwrap().count();
        assert_eq!((files("templates"), files("incoming")), (1, 0));
    }

    #[tokio::test]
    async fn the_same_bytes_are_not_there_in_two_formats() {
        let (_folder, pool) = pool();
        let imports = Imports::new(client());
        // An image of both formats, as the first sectors of an ISO are free.
        let mut both = iso();
        both[..crate::qcow2::HEADER_BYTES].copy_from_slice(&image().0[..crate::qcow2::HEADER_BYTES]);
        let (sha256, status) = import_iso(&imports, &pool, &both).await;
        assert!(matches!(status, TemplateStatus::Ready { .. }), "{status:?}");

        let other = plan(source(with_body(&both)).await, LONG);
        let status = imports.bring(Arc::clone(&pool), sha256, other).await;

        assert!(matches!(&status, TemplateStatus::Failed { transient: false, .. }), "{status:?}");
        assert_eq!(pool.template(sha256).map(|template| template.format), Some(TemplateFormat::Iso));
    }
}

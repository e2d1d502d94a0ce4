//! Has all pools exported as the list of pools says: at the start, when a disk has come back, and when it failed before.
//! After a restart of the machine nobody else does it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::export::Exporter;
use crate::store::Store;
use crate::troubles::Troubles;

pub(crate) async fn run<E: Exporter>(store: Store<E>, every: Duration, stop: CancellationToken) {
    let mut troubles = Troubles::new("cannot export a pool again");
    let rounds = async {
        loop {
            troubles.are(store.export_rest().await);
            tokio::time::sleep(every).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = rounds => {}
    }
}

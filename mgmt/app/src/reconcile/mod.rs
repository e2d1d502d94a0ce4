//! Reconcilers: each takes no input but a wake-up, looks at what is, and brings it nearer to what should be.
//!
//! They run until stopped, one task each; a failure is logged and the next round comes all the same.

mod expunge;
mod housekeeping;
mod leftovers;
mod passing;
pub(crate) mod silent;

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{App, AppError};

impl App {
    /// Runs all reconcilers until `stop` is cancelled.
    pub async fn reconcile(self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        tasks.spawn(every(Duration::from_secs(1), "silent", stop.clone(), {
            let app = self.clone();
            move || silent::round(app.clone())
        }));
        tasks.spawn(every(Duration::from_secs(30), "heard", stop.clone(), {
            let app = self.clone();
            move || crate::heard::keep(app.clone())
        }));
        tasks.spawn(every(Duration::from_secs(10), "passing", stop.clone(), {
            let app = self.clone();
            move || passing::round(app.clone())
        }));
        tasks.spawn(every(Duration::from_secs(2), "limits", stop.clone(), {
            let app = self.clone();
            move || crate::limits::round(app.clone())
        }));
        tasks.spawn(every(Duration::from_secs(5), "expunge", stop.clone(), {
            let app = self.clone();
            move || expunge::round(app.clone())
        }));
        tasks.spawn(every(Duration::from_secs(30), "leftovers", stop.clone(), {
            let app = self.clone();
            move || leftovers::round(app.clone())
        }));
        tasks.spawn(crate::vxlans::follow(self.clone(), stop.clone()));
        tasks.spawn(crate::router::watch::follow(self.clone(), stop.clone()));
        tasks.spawn(crate::console::watch::follow(self.clone(), stop.clone()));
        tasks.spawn(every(Duration::from_secs(60), "housekeeping", stop, {
            let app = self;
            move || housekeeping::round(app.clone())
        }));
        tasks.close();
        tasks.wait().await;
    }
}

/// Has each reconciler run once, now. What pools have and nobody wants is removed without waiting.
pub(crate) async fn all_now(app: &App) -> Result<(), AppError> {
    passing::round(app.clone()).await?;
    crate::limits::round(app.clone()).await?;
    expunge::round(app.clone()).await?;
    leftovers::round_now(app.clone()).await?;
    app.look_after_routers().await?;
    app.look_after_consoles(true).await?;
    app.scan_consoles().await?;
    housekeeping::round(app.clone()).await
}

async fn every<F: Future<Output = Result<(), AppError>>>(
    pause: Duration,
    name: &'static str,
    stop: CancellationToken,
    round: impl Fn() -> F,
) {
    loop {
        if let Err(error) = round().await {
            tracing::error!(error = &error as &dyn std::error::Error, name, "a round failed");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

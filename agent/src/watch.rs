//! Changes of the host's links, as long as the agent runs.

use std::time::Duration;

use podzol_hostnet::{Links, Watch};

/// The pause before a watch that could not be opened, or has ended, is opened anew.
const REOPEN: Duration = Duration::from_secs(1);

/// Wakes up when links change. A watch that ends, or cannot be opened, is opened anew.
#[derive(Debug, Default)]
pub(crate) struct LinkChanges {
    watch: Option<Watch>,
    in_trouble: bool,
}

impl LinkChanges {
    /// Waits for a change after the last that was seen. What went before the watch was opened may have been a change too.
    pub(crate) async fn next(&mut self, links: &impl Links) {
        loop {
            if let Some(watch) = &mut self.watch {
                if watch.changed().await {
                    return;
                }
                tracing::warn!("the watch for changes of links has ended; opening it anew");
                self.watch = None;
            } else if self.open(links) {
                return;
            }
            tokio::time::sleep(REOPEN).await;
        }
    }

    fn open(&mut self, links: &impl Links) -> bool {
        match links.watch() {
            Ok(watch) => self.watch = Some(watch),
            Err(error) if !self.in_trouble => tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot watch for changes of links; trying again"
            ),
            Err(_) => {}
        }
        self.in_trouble = self.watch.is_none();
        !self.in_trouble
    }
}

//! Waiting for operations, by following the stream of changes.

use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Response;
use serde_json::Value;

use crate::api::{Api, ApiError};
use crate::things::OPERATION;

/// Waits until an operation has ended, showing how far it is.
///
/// # Errors
/// When it fails, is cancelled, or has not ended in time.
pub(crate) async fn wait(api: &Api, operation: &Value, timeout: Duration) -> anyhow::Result<()> {
    let id = operation["id"].as_str().context("the API answered without an operation")?;
    let bar = ProgressBar::new_spinner();
    bar.set_style(
        ProgressStyle::with_template("{spinner} {msg} ({elapsed})")
            .unwrap_or(ProgressStyle::default_spinner()),
    );
    bar.enable_steady_tick(Duration::from_millis(120));
    let ended = tokio::time::timeout(timeout, follow(api, id, &bar)).await;
    bar.finish_and_clear();
    let Ok(ended) = ended else {
        return Err(ApiError::NotEnded { operation: id.to_owned(), seconds: timeout.as_secs() }.into());
    };
    let ended = ended?;
    let detail = ended["error"]["detail"].as_str().unwrap_or_default();
    match ended["state"].as_str().unwrap_or_default() {
        "succeeded" => Ok(()),
        state => bail!("{} {state}: {detail}", ended["kind"].as_str().unwrap_or("the operation")),
    }
}

async fn follow(api: &Api, id: &str, bar: &ProgressBar) -> anyhow::Result<Value> {
    loop {
        match look(api, id, bar).await {
            Ok(Some(ended)) => return Ok(ended),
            // The stream broke off, or there is none: the service is being restarted, say.
            Ok(None) | Err(ApiError::Unreachable { .. }) => {}
            // Or it has too much to do, or whatever stands before it has nobody to ask.
            Err(ApiError::Refused(problem)) if matches!(problem.status, 429 | 502..=504) => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Follows an operation for as long as the stream of changes holds.
async fn look(api: &Api, id: &str, bar: &ProgressBar) -> Result<Option<Value>, ApiError> {
    // The stream first, then the state: so nothing is missed in between.
    let changes = api.changes().await?;
    let now = api.get(&OPERATION.at(id), &[]).await?;
    if let Some(ended) = seen(now, bar) {
        return Ok(Some(ended));
    }
    Ok(read(changes, id, bar).await)
}

/// Reads the stream until the operation has ended or the stream breaks off.
async fn read(mut changes: Response, id: &str, bar: &ProgressBar) -> Option<Value> {
    let mut text = String::new();
    while let Ok(Some(chunk)) = changes.chunk().await {
        text.push_str(&String::from_utf8_lossy(&chunk));
        while let Some(end) = text.find('\n') {
            let line: String = text.drain(..=end).collect();
            let Some(data) = line.strip_prefix("data:") else { continue };
            let change: Value = serde_json::from_str(data.trim()).ok()?;
            if change["kind"] == "operation"
                && change["id"] == id
                && let Some(ended) = seen(change["object"].clone(), bar)
            {
                return Some(ended);
            }
        }
    }
    None
}

/// Shows an operation; gives it back if it has ended.
fn seen(operation: Value, bar: &ProgressBar) -> Option<Value> {
    let kind = operation["kind"].as_str().unwrap_or_default();
    let state = operation["state"].as_str().unwrap_or_default();
    let step = operation["step"].as_str().unwrap_or(state);
    bar.set_message(format!("{kind}: {step}"));
    matches!(state, "succeeded" | "failed" | "cancelled").then_some(operation)
}

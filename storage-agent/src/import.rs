//! Bringing a template in: its bytes are hashed as they come, and none stays if the digest is not the one asked for.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use podzol_rpc::{Client, PeerId};
use podzol_storage_api::{TemplateFormat, TemplateSource, TemplateStatus};
use podzol_vocab::{ByteSize, ErrorCode, Sha256};
use sha2::Digest;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::detached;
use crate::imports::ready;
use crate::pool::{Pool, Template};

/// The largest template, in bytes.
const LARGEST: u64 = 1 << 40;

/// How many bytes a source has to send in the time in which it may not be silent: whoever wants the same bytes from
/// elsewhere waits for it.
const PACE: u64 = 1 << 20;

/// After how many bytes it is looked again whether the rest fits into the pool.
const FITS: u64 = 256 << 20;

/// Why an import failed, and whether trying again can help.
struct Failure {
    transient: bool,
    message: String,
}

fn transient(message: impl std::fmt::Display) -> Failure {
    Failure { transient: true, message: message.to_string() }
}

fn for_good(message: impl std::fmt::Display) -> Failure {
    Failure { transient: false, message: message.to_string() }
}

/// Removes the file of an import, unless it was renamed into its place.
struct Incoming(PathBuf);

impl Drop for Incoming {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Imports a template, telling how far it is, and gives how it ended. A source that sends nothing for `stall`, or hardly anything,
/// fails.
pub(crate) async fn run(
    pool: &Arc<Pool>,
    (sha256, format): (Sha256, TemplateFormat),
    source: TemplateSource,
    client: &Client,
    stall: Duration,
    status: &watch::Sender<TemplateStatus>,
) -> TemplateStatus {
    match import(pool, (sha256, format), source, client, stall, status).await {
        Ok(template) => ready(template),
        Err(failure) => {
            tracing::warn!(%sha256, message = failure.message, "an import failed");
            TemplateStatus::Failed { transient: failure.transient, message: failure.message }
        }
    }
}

async fn import(
    pool: &Arc<Pool>,
    (sha256, format): (Sha256, TemplateFormat),
    source: TemplateSource,
    client: &Client,
    stall: Duration,
    status: &watch::Sender<TemplateStatus>,
) -> Result<Template, Failure> {
    let mut response = in_time(stall, open(source, client)).await??;
    let total = response.content_length().map(ByteSize);
    let must_fit = async |more| {
        let pool = Arc::clone(pool);
        detached::on_disk(move || pool.must_have_room(more)).await.map_err(|error| match error.code {
            ErrorCode::Exhausted => for_good(error.message),
            _ => transient(error.message),
        })
    };
    must_fit(total.unwrap_or_default()).await?;
    let path = Incoming(pool.incoming_file(sha256, format));
    let mut file = tokio::fs::File::create(&path.0).await.map_err(cannot_write)?;
    let mut digest = sha2::Sha256::new();
    let mut done = 0;
    // How long the source was waited for since it had sent so much: what this server's disk takes is not its fault.
    let (mut paced, mut waited) = (0, Duration::ZERO);
    let mut fitted = 0;
    loop {
        let asked = Instant::now();
        let chunk = in_time(stall, response.chunk()).await?.map_err(|error| transient(why(&error)))?;
        let Some(chunk) = chunk else { break };
        waited += asked.elapsed();
        digest.update(&chunk);
        file.write_all(&chunk).await.map_err(cannot_write)?;
        done += chunk.len() as u64;
        if done > LARGEST {
            return Err(for_good(format!("it is larger than {}", ByteSize(LARGEST))));
        }
        // Others fill the disk too, and not every source says how much comes.
        if done - fitted >= FITS {
            fitted = done;
            must_fit(total.map_or(ByteSize(0), |total| ByteSize(total.0.saturating_sub(done)))).await?;
        }
        if done - paced >= PACE {
            (paced, waited) = (done, Duration::ZERO);
        } else if waited > stall {
            let secs = stall.as_secs();
            return Err(transient(format!("its source has sent less than {} in {secs} s", ByteSize(PACE))));
        }
        status.send_replace(TemplateStatus::Importing { done: ByteSize(done), total });
    }
    finish(file, done).await?;
    let found = Sha256::from_bytes(digest.finalize().into());
    if found != sha256 {
        return Err(for_good(format!("its SHA-256 digest is {found}, not {sha256}")));
    }
    let pool = Arc::clone(pool);
    let accepted = detached::on_disk(move || pool.accept_template(sha256, format)).await;
    accepted.map_err(|error| Failure {
        transient: error.code.is_transient(),
        message: error.message.into_owned(),
    })
}

/// Sees to it that all that was written is on the disk. Tokio's files only queue what is written to them: the error of
/// the last write comes with the flush, and with nothing else.
async fn finish(mut file: tokio::fs::File, done: u64) -> Result<(), Failure> {
    file.flush().await.map_err(cannot_write)?;
    file.sync_all().await.map_err(cannot_write)?;
    let length = file.metadata().await.map_err(cannot_write)?.len();
    if length != done {
        return Err(transient(format!("its file has {length} bytes instead of {done}")));
    }
    Ok(())
}

/// Waits for something of the source, but not for ever.
async fn in_time<T>(stall: Duration, something: impl Future<Output = T>) -> Result<T, Failure> {
    let nothing = |_| transient(format!("its source has sent nothing for {} s", stall.as_secs()));
    tokio::time::timeout(stall, something).await.map_err(nothing)
}

fn cannot_write(error: std::io::Error) -> Failure {
    let is_full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    Failure { transient: !is_full, message: format!("cannot write the template: {error}") }
}

async fn open(source: TemplateSource, client: &Client) -> Result<reqwest::Response, Failure> {
    match source {
        TemplateSource::Management { path } => {
            client.download(PeerId::Management, &path).await.map_err(|error| {
                transient(
                    std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string),
                )
            })
        }
        TemplateSource::Url { url } => {
            let config = podzol_rpc::tls::public_client_config().map_err(transient)?;
            let response = podzol_rpc::client::http_client(config, None).get(url.expose()).send().await;
            let response = response.map_err(|error| transient(why(&error)))?;
            match response.status() {
                status if status.is_success() => Ok(response),
                status if status.is_client_error() => Err(for_good(format!("its source answers {status}"))),
                status => Err(transient(format!("its source answers {status}"))),
            }
        }
    }
}

/// What went wrong, without the URL: it may hold a password.
fn why(error: &reqwest::Error) -> String {
    let mut text =
        if error.is_timeout() { "no answer in time".to_owned() } else { "cannot get it".to_owned() };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

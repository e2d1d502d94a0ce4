//! Passing connections from 127.0.0.1 into the lab's namespace.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::Context;
use nix::sched::{CloneFlags, setns};

/// Passes connections to `listen` on to `target` inside a namespace, for ever. The listener is made first, outside.
///
/// # Errors
/// When the namespace cannot be entered or the address not be bound.
pub fn run(listen: SocketAddr, namespace: &str, target: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let path = Path::new("/run/netns").join(namespace);
    let file = std::fs::File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    setns(file.as_fd(), CloneFlags::CLONE_NEWNET).context("cannot enter the namespace")?;
    // Threads begin in the namespace of the one that starts them, so the runtime comes after.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(serve(listener, target))
}

async fn serve(listener: TcpListener, target: SocketAddr) -> anyhow::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (mut outside, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Ok(mut inside) = tokio::net::TcpStream::connect(target).await {
                let _ = inside.set_nodelay(true);
                let _ = outside.set_nodelay(true);
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            }
        });
    }
}

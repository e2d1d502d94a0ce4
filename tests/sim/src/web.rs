//! A web server somewhere, from which storage servers import an image.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use podzol_test_support::Process;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::fault::{Faults, Step, Stumble};

/// A web server that has one image.
pub struct SimWeb {
    address: SocketAddr,
    faults: Arc<Faults>,
    _process: Process,
}

impl SimWeb {
    /// One that has these bytes.
    ///
    /// # Panics
    /// When no port is free.
    pub fn start(bytes: Vec<u8>) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        listener.set_nonblocking(true).expect("a socket can be told not to block");
        let address = listener.local_addr().expect("it is bound");
        let faults = Arc::<Faults>::default();
        let (bytes, of_process) = (Arc::<[u8]>::from(bytes), Arc::clone(&faults));
        let process = Process::start("web", |_| async move {
            let listener = TcpListener::from_std(listener)?;
            loop {
                let (stream, _) = listener.accept().await?;
                let (bytes, faults) = (Arc::clone(&bytes), Arc::clone(&of_process));
                tokio::spawn(async move { answer(stream, &bytes, &faults).await });
            }
        });
        Self { address, faults, _process: process }
    }

    /// Where the image is.
    pub fn url(&self) -> String {
        format!("http://{}/image.qcow2", self.address)
    }

    /// The faults of [`Step::OF_WEB`].
    pub fn faults(&self) -> &Faults {
        &self.faults
    }
}

/// Answers a request. Whoever asked may be gone.
async fn answer(mut stream: TcpStream, bytes: &[u8], faults: &Faults) -> std::io::Result<()> {
    let _ = stream.read(&mut [0; 4096]).await?;
    let (first, second) = bytes.split_at(bytes.len() / 2);
    match faults.strike(Step::Serve).await {
        Ok(()) => {}
        Err(Stumble::Fails) => {
            let failure =
                "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            return stream.write_all(failure.as_bytes()).await;
        }
        Err(Stumble::NoAnswer) => return Ok(()),
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(first).await?;
    if faults.strike(Step::ServeRest).await.is_ok() {
        stream.write_all(second).await?;
    }
    stream.shutdown().await
}

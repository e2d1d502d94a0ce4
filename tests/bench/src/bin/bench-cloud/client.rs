//! A client that takes as little of the processors as it can, as they are the service's too: HTTP/1.1 on a connection of
//! its own, of an answer the status alone.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use podzol_rpc::tls::anonymous_client_config;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A connection with a key.
pub(crate) struct Client {
    stream: TlsStream<TcpStream>,
    authorization: String,
    received: Vec<u8>,
}

impl Client {
    /// Connects to the API.
    pub(crate) async fn connect(api: SocketAddr, ca_pem: &str, key: &str) -> Result<Self> {
        let mut config = anonymous_client_config(ca_pem)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = TcpStream::connect(api).await?;
        stream.set_nodelay(true)?;
        let connector = TlsConnector::from(std::sync::Arc::new(config));
        let stream = connector.connect(ServerName::from(api.ip()), stream).await?;
        Ok(Self { stream, authorization: format!("Bearer {key}"), received: Vec::with_capacity(8192) })
    }

    /// Posts a JSON text, and gives the status of the answer.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Result<u16> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.authorization,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.stream.flush().await?;
        self.received.clear();
        let head = loop {
            if let Some(end) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let text = std::str::from_utf8(&self.received[..head])?;
        let status = text.split(' ').nth(1).context("an answer without a status")?.parse()?;
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.context("an answer without a length")?.trim().parse()?;
        while self.received.len() < head + length {
            self.more().await?;
        }
        Ok(status)
    }

    async fn more(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.received).await {
            Ok(0) | Err(_) => {
                bail!("the connection broke off after {:?}", String::from_utf8_lossy(&self.received))
            }
            Ok(_) => Ok(()),
        }
    }
}

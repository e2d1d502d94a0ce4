//! A display that shows what a test paints, and notes what it is told.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use podzol_console_proxy_api::{Upstream, UpstreamSecurity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::watch;

/// Its size.
pub(crate) const SIZE: (u16, u16) = (320, 200);

/// What it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// Whether it goes down, its scancode and its keysym.
    Scancode(bool, u32, u32),
    Keysym(bool, u32),
    Pointer(u8, u16, u16),
}

/// A display.
#[derive(Clone)]
pub(crate) struct Noting {
    pub(crate) address: String,
    told: Arc<Mutex<Vec<Told>>>,
    nudges: Arc<Mutex<u64>>,
    /// The grey that it shows, all over.
    shade: watch::Sender<u8>,
    cut: watch::Sender<u32>,
    has_scancodes: bool,
    name: &'static str,
}

impl Noting {
    pub(crate) async fn new(has_scancodes: bool) -> Self {
        Self::named("x", has_scancodes).await
    }

    /// One that calls its desktop so.
    pub(crate) async fn named(name: &'static str, has_scancodes: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let noting = Self {
            address: listener.local_addr().unwrap().to_string(),
            told: Arc::default(),
            nudges: Arc::default(),
            shade: watch::Sender::new(1),
            cut: watch::Sender::new(0),
            has_scancodes,
            name,
        };
        let all = noting.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (one, mut cut) = (all.clone(), all.cut.subscribe());
                tokio::spawn(async move {
                    tokio::select! {
                        ended = one.serve(stream) => drop(ended),
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        noting
    }

    pub(crate) fn way(&self) -> Upstream {
        way(&self.address)
    }

    /// A UNIX socket that leads to it.
    pub(crate) fn bridge(&self, folder: &Path) -> PathBuf {
        let (path, address) = (folder.join("display"), self.address.clone());
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let address = address.clone();
                tokio::spawn(async move {
                    let mut display = TcpStream::connect(address).await?;
                    tokio::io::copy_bidirectional(&mut stream, &mut display).await
                });
            }
        });
        path
    }

    /// What it was told up to now, without nudges.
    pub(crate) fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    pub(crate) fn nudges(&self) -> u64 {
        *self.nudges.lock().unwrap()
    }

    /// Shows another shade.
    pub(crate) fn paint(&self, shade: u8) {
        self.shade.send_replace(shade);
    }

    /// Cuts all connections.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|times| *times += 1);
    }

    fn note(&self, told: Told) {
        if told == Told::Scancode(false, 0, 0) {
            *self.nudges.lock().unwrap() += 1;
        } else {
            self.told.lock().unwrap().push(told);
        }
    }

    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        greet(&mut stream, SIZE, self.name).await?;
        let (mut reader, mut writer) = stream.into_split();
        let (mut shade, asked) = (self.shade.subscribe(), watch::Sender::new((0_u32, 0_u32)));
        let mut asks = asked.subscribe();
        let show = async {
            let (mut answered, mut whole) = (0, 0);
            if self.has_scancodes {
                writer.write_all(&[&[0, 0, 0, 1][..], &[0; 8], &(-258_i32).to_be_bytes()].concat()).await?;
            }
            loop {
                asks.wait_for(|(asked, _)| *asked > answered).await.map_err(io::Error::other)?;
                let is_whole = asks.borrow().1 > whole;
                if !is_whole {
                    shade.changed().await.map_err(io::Error::other)?;
                }
                (answered, whole) = *asks.borrow();
                let now = *shade.borrow_and_update();
                let mut update = vec![0, 0, 0, 1, 0, 0, 0, 0];
                update.extend([SIZE.0.to_be_bytes(), SIZE.1.to_be_bytes()].concat());
                update.extend([0; 4]);
                update.extend([now, now, now, 0].repeat(usize::from(SIZE.0) * usize::from(SIZE.1)));
                writer.write_all(&update).await?;
            }
            #[allow(unreachable_code, reason = "it names the type")]
            Ok::<(), io::Error>(())
        };
        let hear = async {
            loop {
                match read::<1>(&mut reader).await? {
                    [0] => drop(read::<19>(&mut reader).await?),
                    [2] => {
                        let [_, high, low] = read::<3>(&mut reader).await?;
                        for _ in 0..u16::from_be_bytes([high, low]) {
                            read::<4>(&mut reader).await?;
                        }
                    }
                    [3] => {
                        let [incremental, ..] = read::<9>(&mut reader).await?;
                        asked.send_modify(|(asks, wholes)| {
                            (*asks, *wholes) = (*asks + 1, *wholes + u32::from(incremental == 0))
                        });
                    }
                    [4] => {
                        let [down, _, _, rest @ ..] = read::<7>(&mut reader).await?;
                        self.note(Told::Keysym(down != 0, u32::from_be_bytes(rest)));
                    }
                    [5] => {
                        let [buttons, a, b, c, d] = read::<5>(&mut reader).await?;
                        self.note(Told::Pointer(
                            buttons,
                            u16::from_be_bytes([a, b]),
                            u16::from_be_bytes([c, d]),
                        ));
                    }
                    [255] => {
                        let message = read::<11>(&mut reader).await?;
                        let at =
                            |place: usize| u32::from_be_bytes(message[place..place + 4].try_into().unwrap());
                        self.note(Told::Scancode(message[2] != 0, at(7), at(3)));
                    }
                    other => panic!("an unknown message: {other:?}"),
                }
            }
            #[allow(unreachable_code, reason = "it names the type")]
            Ok::<(), io::Error>(())
        };
        tokio::select! {
            ended = show => ended,
            ended = hear => ended,
        }
    }
}

/// The way to a display at an address.
pub(crate) fn way(address: &str) -> Upstream {
    Upstream::Rfb {
        address: address.parse().unwrap(),
        security: vec![UpstreamSecurity::None],
        username: None,
        password: None,
        authority: None,
        server_name: None,
    }
}

/// The handshake of a display of this size.
pub(crate) async fn greet(stream: &mut TcpStream, (width, height): (u16, u16), name: &str) -> io::Result<()> {
    let _ = stream.set_nodelay(true);
    stream.write_all(b"RFB 003.008\n").await?;
    read::<12>(stream).await?;
    stream.write_all(&[1, 1]).await?;
    read::<1>(stream).await?;
    stream.write_all(&[0; 4]).await?;
    read::<1>(stream).await?;
    let mut init = [width.to_be_bytes(), height.to_be_bytes()].concat();
    init.extend([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0]);
    init.extend([&(name.len() as u32).to_be_bytes(), name.as_bytes()].concat());
    stream.write_all(&init).await
}

async fn read<const N: usize>(reader: &mut (impl AsyncReadExt + Unpin)) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).await?;
    Ok(bytes)
}

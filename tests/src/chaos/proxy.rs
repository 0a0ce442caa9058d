//! A TCP proxy that injects faults: it cuts connections, slows them down, lets them stay open without
//! carrying anything, and loses replies. It counts what it did, so that a test knows that a fault fired. May
//! import tokio and std.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What is done to the bytes of every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Passed on.
    Pass,
    /// Each piece is passed on after this time.
    Slow(Duration),
    /// Kept back, both ways; the connection stays open.
    Hold,
    /// Kept back on the way to the client; requests arrive.
    HoldReplies,
    /// New connections are closed at once.
    Refuse,
}

/// How often something was done.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections that were open when all were cut.
    pub cut: AtomicU64,
    /// Connections that were left open without carrying anything ever more.
    pub stranded: AtomicU64,
    /// Pieces that were passed on late.
    pub slowed: AtomicU64,
    /// Pieces that were kept back.
    pub held: AtomicU64,
    /// Pieces on the way to the client that were kept back.
    pub held_replies: AtomicU64,
    /// Connections that were closed at once.
    pub refused: AtomicU64,
    /// Connections that are open.
    pub open: AtomicU64,
    /// Connections that were ever opened.
    pub opened: AtomicU64,
    /// Pieces that reached the client.
    pub delivered: AtomicU64,
    /// Times that so much was on its way to the server that all connections were cut.
    pub cut_on_the_way: AtomicU64,
}

#[derive(Debug)]
struct Control {
    mode: watch::Sender<Mode>,
    cuts: watch::Sender<u64>,
    /// So many times the connections of the time were left to themselves.
    strandings: watch::Sender<u64>,
    /// Bytes that may still go to the server before all is cut; 0: any number.
    before_cut: AtomicU64,
    counters: Counters,
}

impl Control {
    fn cut(&self) {
        let open = self.counters.open.load(Ordering::Relaxed);
        self.counters.cut.fetch_add(open, Ordering::Relaxed);
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Notes what is on its way to the server; cuts when that is enough.
    fn on_the_way(&self, bytes: u64) {
        let less = |left: u64| (left > 0).then(|| left.saturating_sub(bytes));
        let before = self
            .before_cut
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        if before.is_ok_and(|before| before <= bytes) {
            self.counters.cut_on_the_way.fetch_add(1, Ordering::Relaxed);
            self.cut();
        }
    }
}

/// A proxy in front of one address; ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    control: Arc<Control>,
    accepting: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

impl Proxy {
    /// Listens on a free port of loopback and connects to `server` for each connection.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let control = Arc::new(Control {
            mode: watch::Sender::new(Mode::Pass),
            cuts: watch::Sender::new(0),
            strandings: watch::Sender::new(0),
            before_cut: AtomicU64::new(0),
            counters: Counters::default(),
        });
        let accepting = tokio::spawn(accept(listener, server, Arc::clone(&control)));
        Ok(Self {
            address,
            control,
            accepting,
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what is done from now on, to open connections too.
    pub fn set(&self, mode: Mode) {
        self.control.mode.send_replace(mode);
    }

    /// Resets every open connection, with all that is kept back.
    pub fn cut(&self) {
        self.control.cut();
    }

    /// Carries nothing more on the connections that are open now, which stay open; new ones are as ever. As behind a
    /// router that has forgotten them.
    pub fn strand(&self) {
        let open = self.control.counters.open.load(Ordering::Relaxed);
        let stranded = &self.control.counters.stranded;
        stranded.fetch_add(open, Ordering::Relaxed);
        self.control.strandings.send_modify(|times| *times += 1);
    }

    /// Resets every open connection once so many bytes have gone to the server: in the midst of a file.
    pub fn cut_after(&self, bytes: u64) {
        self.control.before_cut.store(bytes, Ordering::Relaxed);
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.control.counters
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, control: Arc<Control>) {
    // An error of accept is one of that connection: its client gave up already.
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        if *control.mode.borrow() == Mode::Refuse {
            control.counters.refused.fetch_add(1, Ordering::Relaxed);
            let _ = client.set_zero_linger();
            continue;
        }
        let control = Arc::clone(&control);
        tokio::spawn(async move {
            // Where nobody listens, the client's connection is closed by the drop.
            if let Ok(server) = TcpStream::connect(server).await {
                control.counters.opened.fetch_add(1, Ordering::Relaxed);
                control.counters.open.fetch_add(1, Ordering::Relaxed);
                carry(client, server, &control).await;
                control.counters.open.fetch_sub(1, Ordering::Relaxed);
            }
        });
    }
}

async fn carry(client: TcpStream, server: TcpStream, control: &Control) {
    // Small messages must not wait for others, which would hide the delays that are wanted.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    // A reset, not a polite end: that is what a lost machine or a firewall looks like.
    let _ = (client.set_zero_linger(), server.set_zero_linger());
    let mut cuts = control.cuts.subscribe();
    let mut strandings = control.strandings.subscribe();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let both = async {
        tokio::join!(
            pump(from_client, to_server, Way::ToServer, control),
            pump(from_server, to_client, Way::ToClient, control),
        )
    };
    tokio::pin!(both);
    // The cut first: what is kept back must be lost with it, though the mode may have changed since.
    tokio::select! {
        biased;
        _ = cuts.changed() => {}
        // Both ends stay, since `both` has them.
        _ = strandings.changed() => { let _ = cuts.changed().await; }
        _ = &mut both => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Way, control: &Control) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length) = from.read(&mut buffer).await {
        if !passed(way, control).await || length == 0 {
            break;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
        match way {
            Way::ToClient => {
                control.counters.delivered.fetch_add(1, Ordering::Relaxed);
            }
            Way::ToServer => control.on_the_way(length as u64),
        }
    }
    let _ = to.shutdown().await;
}

/// Waits as long as the mode wants a piece to wait; false if nothing will pass any more.
async fn passed(way: Way, control: &Control) -> bool {
    let mut modes = control.mode.subscribe();
    let mut counted = false;
    loop {
        let mode = *modes.borrow_and_update();
        match mode {
            Mode::Hold => {}
            Mode::HoldReplies if way == Way::ToClient => {}
            Mode::Slow(delay) => {
                control.counters.slowed.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(delay).await;
                return true;
            }
            Mode::Pass | Mode::HoldReplies | Mode::Refuse => return true,
        }
        if !counted {
            counted = true;
            control.counters.held.fetch_add(1, Ordering::Relaxed);
            if way == Way::ToClient {
                control
                    .counters
                    .held_replies
                    .fetch_add(1, Ordering::Relaxed);
            }
        }
        if modes.changed().await.is_err() {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets.
    async fn echo() -> Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        Ok(address)
    }

    async fn answer(client: &mut TcpStream, within_ms: u64) -> Option<std::io::Result<u8>> {
        tokio::time::timeout(Duration::from_millis(within_ms), client.read_u8())
            .await
            .ok()
    }

    #[tokio::test]
    async fn held_replies_come_when_the_proxy_passes_again_and_requests_arrived_before()
    -> Result<()> {
        let proxy = Proxy::start(echo().await?).await?;
        let mut client = TcpStream::connect(proxy.address()).await?;
        client.write_u8(1).await?;
        assert_eq!(
            answer(&mut client, 5_000).await.transpose()?,
            Some(1),
            "nothing passes"
        );
        proxy.set(Mode::HoldReplies);
        client.write_u8(2).await?;
        assert!(answer(&mut client, 200).await.is_none(), "it was not held");
        assert_eq!(proxy.counters().held_replies.load(Ordering::Relaxed), 1);
        proxy.set(Mode::Pass);
        assert_eq!(answer(&mut client, 5_000).await.transpose()?, Some(2));
        Ok(())
    }

    #[tokio::test]
    async fn a_stranded_connection_stays_open_and_says_nothing_and_a_new_one_works() -> Result<()> {
        let proxy = Proxy::start(echo().await?).await?;
        let mut client = TcpStream::connect(proxy.address()).await?;
        client.write_u8(1).await?;
        assert!(answer(&mut client, 5_000).await.is_some());
        proxy.strand();
        assert_eq!(proxy.counters().stranded.load(Ordering::Relaxed), 1);
        client.write_u8(2).await?;
        assert!(answer(&mut client, 200).await.is_none(), "it is carried");
        let mut other = TcpStream::connect(proxy.address()).await?;
        other.write_u8(3).await?;
        assert_eq!(answer(&mut other, 5_000).await.transpose()?, Some(3));
        assert!(answer(&mut client, 200).await.is_none(), "it came late");
        Ok(())
    }

    #[tokio::test]
    async fn a_cut_resets_open_connections_and_a_refusal_new_ones() -> Result<()> {
        let proxy = Proxy::start(echo().await?).await?;
        let mut client = TcpStream::connect(proxy.address()).await?;
        client.write_u8(1).await?;
        assert!(answer(&mut client, 5_000).await.is_some());
        proxy.set(Mode::Refuse);
        proxy.cut();
        assert!(matches!(answer(&mut client, 5_000).await, Some(Err(_))));
        assert_eq!(proxy.counters().cut.load(Ordering::Relaxed), 1);
        let mut client = TcpStream::connect(proxy.address()).await?;
        assert!(matches!(answer(&mut client, 5_000).await, Some(Err(_))));
        assert_eq!(proxy.counters().refused.load(Ordering::Relaxed), 1);
        Ok(())
    }

    #[tokio::test]
    async fn a_cut_loses_what_was_kept_back_even_if_the_proxy_passes_again_at_once() -> Result<()> {
        let server = echo().await?;
        for _ in 0..50 {
            let proxy = Proxy::start(server).await?;
            let mut client = TcpStream::connect(proxy.address()).await?;
            proxy.set(Mode::HoldReplies);
            client.write_u8(1).await?;
            while proxy.counters().held_replies.load(Ordering::Relaxed) == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            proxy.cut();
            proxy.set(Mode::Pass);
            let answer = answer(&mut client, 5_000).await;
            assert!(matches!(answer, Some(Err(_))), "it arrived: {answer:?}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_file_on_its_way_is_cut_off_in_its_midst_once() -> Result<()> {
        let proxy = Proxy::start(echo().await?).await?;
        proxy.cut_after(100_000);
        let mut client = TcpStream::connect(proxy.address()).await?;
        client.write_u8(1).await?;
        assert_eq!(answer(&mut client, 5_000).await.transpose()?, Some(1));
        let (mut from, mut to) = client.into_split();
        let writing = tokio::spawn(async move { to.write_all(&vec![7; 10_000_000]).await });
        let mut back = Vec::new();
        // Its end, or a reset.
        let _ = from.read_to_end(&mut back).await;
        assert!(writing.await?.is_err() && back.len() < 10_000_000);
        assert_eq!(proxy.counters().cut_on_the_way.load(Ordering::Relaxed), 1);
        let mut client = TcpStream::connect(proxy.address()).await?;
        client.write_all(&vec![7; 300_000]).await?;
        assert!(
            answer(&mut client, 5_000)
                .await
                .is_some_and(|answer| answer.is_ok())
        );
        Ok(())
    }

    #[tokio::test]
    async fn a_slow_connection_carries_everything_late() -> Result<()> {
        let proxy = Proxy::start(echo().await?).await?;
        proxy.set(Mode::Slow(Duration::from_millis(150)));
        let mut client = TcpStream::connect(proxy.address()).await?;
        let begin = std::time::Instant::now();
        client.write_u8(3).await?;
        assert_eq!(answer(&mut client, 5_000).await.transpose()?, Some(3));
        assert!(begin.elapsed() >= Duration::from_millis(300));
        assert!(proxy.counters().slowed.load(Ordering::Relaxed) >= 2);
        Ok(())
    }
}

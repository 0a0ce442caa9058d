//! Connections to the listener, with TLS when there is any. A handshake never holds up another one. May
//! import tokio, tokio-rustls and tonic's trait of connections.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use espalier_runtime::tls::PeerCertificate;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::noted::Noted;

/// Connections whose first bytes are awaited at one time; more wait in the operating system's queue.
const MOST_HANDSHAKES: usize = 512;
/// A handshake from another continent takes a second; whoever takes longer only holds a place.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Connections that wait to be served.
const WAITING: usize = 64;
/// After an accept that failed, for example because no file can be opened any more.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// While no connection can be accepted, that is said again after so long.
const SAID_EVERY: Duration = Duration::from_secs(60);
/// What a TLS connection begins with: a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// How a peer is connected.
#[derive(Clone, Debug)]
pub(crate) enum Link {
    /// Without TLS.
    Plain,
    /// With TLS, and with a worker's certificate if it showed one.
    Tls(Option<Arc<PeerCertificate>>),
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) link: Link,
}

impl Peer {
    pub(super) fn certificate(&self) -> Option<&PeerCertificate> {
        match &self.link {
            Link::Plain => None,
            Link::Tls(certificate) => certificate.as_deref(),
        }
    }
}

/// A connection.
pub(crate) struct Socket {
    stream: Stream,
    peer: Peer,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connected for Socket {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

/// The connections that a listener takes, until the stream is dropped.
pub(crate) fn incoming(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
) -> ReceiverStream<io::Result<Socket>> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let acceptor = tls.map(TlsAcceptor::from);
    espalier_runtime::spawn_named("listener", accept(listener, acceptor, sender));
    ReceiverStream::new(receiver)
}

async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    sender: mpsc::Sender<io::Result<Socket>>,
) {
    let places = Arc::new(Semaphore::new(MOST_HANDSHAKES));
    let noted = Arc::new(Noted::default());
    let mut said: Option<Instant> = None;
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = sender.closed() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
                    said = Some(Instant::now());
                    tracing::warn!(
                        %error,
                        "connections cannot be accepted; when too many files are open, raise the limit (ulimit -n, \
                         or LimitNOFILE of a systemd unit) and start the coordinator again"
                    );
                }
                tokio::time::sleep(AFTER_FAILURE).await;
                continue;
            }
        };
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        let noted = Arc::clone(&noted);
        espalier_runtime::spawn_named("handshake", async move {
            let taken =
                tokio::time::timeout(HANDSHAKE_LIMIT, take(stream, address, acceptor)).await;
            drop(place);
            match taken {
                // Nobody serves any more.
                Ok(Ok(socket)) => drop(sender.send(Ok(socket)).await),
                Ok(Err(error)) => say(&noted, address, &error),
                Err(_) => tracing::debug!(peer = %address, "a TLS handshake took too long"),
            }
        });
    }
}

/// Logs that a handshake failed.
fn say(noted: &Noted, address: SocketAddr, error: &io::Error) {
    // What ends without a word is a probe of the port. A certificate of another authority, on either side, and bytes
    // that are no TLS are invalid data.
    let is_wrong = error.kind() == io::ErrorKind::InvalidData;
    if is_wrong && noted.is_new(Some(address.ip()), "no TLS", Instant::now()) {
        tracing::warn!(
            peer = %address.ip(),
            %error,
            "a TLS handshake failed: this peer, or what it takes for this coordinator, has a certificate of another \
             cluster, or it speaks another TLS; the same from this peer is not said again for a minute"
        );
    } else {
        tracing::debug!(peer = %address, %error, "no TLS connection came about");
    }
}

async fn take(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: Option<TlsAcceptor>,
) -> io::Result<Socket> {
    stream.set_nodelay(true)?;
    let plain = |stream| Socket {
        stream: Stream::Plain(stream),
        peer: Peer {
            address,
            link: Link::Plain,
        },
    };
    let Some(acceptor) = acceptor else {
        return Ok(plain(stream));
    };
    // What speaks no TLS is let through to be told so: every call of it is refused.
    if first_byte(&stream).await? != TLS_HANDSHAKE {
        return Ok(plain(stream));
    }
    let stream = acceptor.accept(stream).await?;
    let chain = stream.get_ref().1.peer_certificates();
    let certificate = chain.and_then(|chain| PeerCertificate::read(chain.first()?));
    Ok(Socket {
        stream: Stream::Tls(Box::new(stream)),
        peer: Peer {
            address,
            link: Link::Tls(certificate.map(Arc::new)),
        },
    })
}

async fn first_byte(stream: &TcpStream) -> io::Result<u8> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(first[0])
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

//! The one place that every call passes: holds it against the table, tells its handler who calls, and ends it
//! when the caller's token ends. May import tower and tonic.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tonic::body::Body;
use tonic::{Code, Status};

use super::bounded::bounded;
use super::noted::Noted;
use super::{Access, Admitted, Cut, Peer, Refusal, RefusalKind};

/// What the guard counts.
#[derive(Clone, Debug)]
pub(crate) struct CallMeters {
    /// Calls that were not let in, by reason.
    pub(crate) refused: Family<[(&'static str, &'static str); 1], Counter>,
    /// Calls that were let in and answered with an error, by gRPC code.
    pub(crate) failed: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Default for CallMeters {
    fn default() -> Self {
        let meters = Self {
            refused: Family::default(),
            failed: Family::default(),
        };
        // From the start at zero: a counter that appears with its first event has no increase.
        for kind in RefusalKind::ALL {
            drop(meters.refused.get_or_create(&[("reason", kind.word())]));
        }
        for code in CODES {
            drop(meters.failed.get_or_create(&[("code", code)]));
        }
        meters
    }
}

/// The names of the gRPC codes of errors, by number from 1 on.
pub(crate) const CODES: [&str; 16] = [
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];

impl CallMeters {
    /// Counts an answer that is an error.
    fn count_answer(&self, code: Code) {
        let number = i32::from(code);
        let name = usize::try_from(number - 1)
            .ok()
            .and_then(|at| CODES.get(at));
        if let Some(name) = name {
            self.failed.get_or_create(&[("code", *name)]).inc();
        }
    }
}

/// Guards whatever is behind it.
#[derive(Clone)]
pub(crate) struct GuardLayer {
    access: Access,
    noted: Arc<Noted>,
    meters: CallMeters,
}

impl GuardLayer {
    pub(crate) fn new(access: Access, meters: CallMeters) -> Self {
        Self {
            access,
            noted: Arc::default(),
            meters,
        }
    }
}

impl<S> tower::Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard {
            inner,
            layer: self.clone(),
        }
    }
}

/// A service behind the guard.
#[derive(Clone)]
pub(crate) struct Guard<S> {
    inner: S,
    layer: GuardLayer,
}

impl<S> tower::Service<Request<Body>> for Guard<S>
where
    S: tower::Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let uri = request.uri().clone();
        let peer = request.extensions().get::<Peer>();
        let bearer = request.headers().get(header::AUTHORIZATION);
        let path = uri.path();
        match self.layer.access.admit(path, peer, bearer) {
            Ok(Admitted { principal, cut }) => {
                let ip = peer.map(|peer| peer.address.ip());
                request.extensions_mut().insert(principal);
                let request = request.map(|body| bounded(path, body));
                let call = self.inner.call(request);
                let layer = self.layer.clone();
                let call = async move {
                    let answer = call.await?;
                    layer.note_answer(ip, uri.path(), &answer);
                    Ok(answer)
                };
                match cut {
                    Some(cut) => Box::pin(within(call, cut)),
                    None => Box::pin(call),
                }
            }
            Err(refusal) => {
                self.layer.note(peer, path, &refusal);
                let grpc = is_grpc(&request);
                Box::pin(async move { Ok(refused(refusal.status, grpc)) })
            }
        }
    }
}

impl GuardLayer {
    fn note(&self, peer: Option<&Peer>, path: &str, refusal: &Refusal) {
        let kind = refusal.kind.word();
        self.meters.refused.get_or_create(&[("reason", kind)]).inc();
        let ip = peer.map(|peer| peer.address.ip());
        self.say(ip, path, kind, refusal.status.message());
    }

    /// Counts an answer that is an error, and says so when the caller did what it may not.
    fn note_answer(&self, ip: Option<IpAddr>, path: &str, answer: &Response<Body>) {
        // An answer without a message has its status among the headers; streams that fail later are not seen.
        let Some(status) = Status::from_header_map(answer.headers()) else {
            return;
        };
        self.meters.count_answer(status.code());
        let kind = match status.code() {
            // The caller's role was right: it spoke for somebody else.
            Code::PermissionDenied => "another worker",
            Code::OutOfRange => "too large",
            _ => return,
        };
        self.say(ip, path, kind, status.message());
    }

    /// Logs a refusal, unless the same was said just now.
    fn say(&self, ip: Option<IpAddr>, path: &str, kind: &'static str, reason: &str) {
        if !self.noted.is_new(ip, kind, Instant::now()) {
            return;
        }
        // The path comes from outside.
        let call: String = path.chars().take(100).collect();
        let peer = ip.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
        tracing::warn!(
            peer,
            call,
            kind,
            reason,
            "call refused; the same from this peer is not said again for a minute"
        );
    }
}

fn is_grpc(request: &Request<Body>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// The answer to a call that was not let in: a browser or curl gets one that it can read.
fn refused(status: Status, grpc: bool) -> Response<Body> {
    if grpc {
        return status.into_http();
    }
    let code = match status.code() {
        tonic::Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        tonic::Code::PermissionDenied => StatusCode::FORBIDDEN,
        _ => StatusCode::NOT_FOUND,
    };
    let mut response = Response::new(Body::new(http_body_util::Full::new(Bytes::from(format!(
        "{}\n",
        status.message()
    )))));
    *response.status_mut() = code;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

/// A call, and then its answer, until the cut.
async fn within<E>(
    call: impl Future<Output = Result<Response<Body>, E>>,
    cut: Cut,
) -> Result<Response<Body>, E> {
    let mut cut: Pin<Box<dyn Future<Output = Status> + Send>> = Box::pin(cut.wait());
    tokio::select! {
        // What has been done is answered.
        biased;
        answer = call => answer.map(|response| {
            response.map(|body| {
                // An answer of one message, or none, is there already.
                if body.is_end_stream() { body } else { Body::new(CutBody { body, cut: Some(cut) }) }
            })
        }),
        status = &mut cut => Ok(status.into_http()),
    }
}

/// The body of an answer that ends when the caller's token does.
struct CutBody {
    body: Body,
    /// None: it has been cut.
    cut: Option<Pin<Box<dyn Future<Output = Status> + Send>>>,
}

impl HttpBody for CutBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(cut) = &mut self.cut else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(status) = cut.as_mut().poll(context) {
            self.cut = None;
            let mut trailers = http::HeaderMap::new();
            return Poll::Ready(match status.add_header(&mut trailers) {
                Ok(()) => Some(Ok(Frame::trailers(trailers))),
                Err(error) => Some(Err(error)),
            });
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.cut.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! What a call with one message may send. tonic reads the body of such a call to its end, whatever comes behind the
//! message: without a bound a caller, also one without a token, would keep the call open for ever. May import
//! http-body and tonic's status.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use espalier_proto::MAX_MESSAGE_BYTES;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;

use super::methods::is_streamed;

/// The largest message, and what it is wrapped in. How large it may be for a service is tonic's to say.
const MOST_BYTES: usize = MAX_MESSAGE_BYTES + (1 << 20);
/// What a frame counts beside its data, so that there is no endless row of empty ones.
const FRAME_BYTES: usize = 9;
/// The longest that a message is on its way: the largest one over a network of 64 KiB a second takes less.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// The body of a request to a path, with bounds unless it is a stream. What uploads and pushes bring is bounded where it
/// is taken in; the reflection service keeps nothing, and its stream ends with the caller's token.
pub(super) fn bounded(path: &str, body: Body) -> Body {
    if is_streamed(path) || body.is_end_stream() {
        return body;
    }
    Body::new(Bounded {
        body,
        left: MOST_BYTES,
        longest: LONGEST,
        ends: None,
        over: false,
    })
}

/// A body that ends with an error beyond its bounds.
struct Bounded {
    body: Body,
    left: usize,
    longest: Duration,
    /// From the first wait on: most bodies are there at once.
    ends: Option<Pin<Box<Sleep>>>,
    over: bool,
}

impl Bounded {
    fn end(&mut self, status: Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.over = true;
        Poll::Ready(Some(Err(status)))
    }
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.over {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = FRAME_BYTES + frame.data_ref().map_or(0, Bytes::len);
                let Some(left) = self.left.checked_sub(bytes) else {
                    let message = format!("a call of one message has more than {MOST_BYTES} bytes");
                    return self.end(Status::out_of_range(message));
                };
                self.left = left;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Pending => {
                let longest = self.longest;
                let ends = self
                    .ends
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(longest)));
                if ends.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                let seconds = longest.as_secs();
                let message = format!("the message of this call has not ended within {seconds} s");
                self.end(Status::deadline_exceeded(message))
            }
            ended => ended,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use futures::stream;
    use http_body_util::{BodyExt as _, StreamBody};
    use tonic::Code;

    use super::*;

    fn body(frames: impl futures::Stream<Item = Bytes> + Send + 'static) -> Bounded {
        let frames = frames.map(|data| Ok::<_, Status>(Frame::data(data)));
        Bounded {
            body: Body::new(StreamBody::new(frames)),
            left: 100,
            longest: Duration::from_millis(50),
            ends: None,
            over: false,
        }
    }

    async fn ended(body: Bounded) -> Code {
        let all = tokio::time::timeout(Duration::from_secs(10), body.collect()).await;
        all.expect("it goes on").unwrap_err().code()
    }

    #[tokio::test]
    async fn a_body_ends_in_time_and_with_so_many_bytes_and_frames_and_is_else_as_it_was() {
        let row = |data: &'static [u8]| stream::repeat(Bytes::from_static(data));
        assert_eq!(ended(body(row(b"data"))).await, Code::OutOfRange);
        assert_eq!(ended(body(row(b""))).await, Code::OutOfRange);
        let still = row(b"data").take(2).chain(stream::pending());
        assert_eq!(ended(body(still)).await, Code::DeadlineExceeded);
        let whole = body(row(b"data").take(2)).collect().await.unwrap();
        assert_eq!(whole.to_bytes(), Bytes::from_static(b"datadata"));
    }
}

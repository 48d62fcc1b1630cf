use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use http_body_util::Empty;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;

use super::*;

const MOST: u64 = 100;

/// A caller that has announced 12 bytes of content, and the content as a server reads it.
async fn caller() -> (DuplexStream, Incoming) {
    let (mut caller, server) = duplex(1 << 16);
    let (sender, mut received) = mpsc::channel(1);
    let service = service_fn(move |request: Request<Incoming>| {
        let sender = sender.clone();
        async move {
            sender.send(request.into_body()).await.unwrap();
            std::future::pending::<()>().await;
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(server), service));
    let head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n";
    caller.write_all(head).await.unwrap();
    (caller, received.recv().await.unwrap())
}

/// The next piece, waited for.
async fn next(content: &mut ReplayContent) -> Option<Result<Bytes, ReplayFault>> {
    std::future::poll_fn(|cx| content.poll_data(cx)).await
}

async fn piece(content: &mut ReplayContent) -> Bytes {
    next(content).await.unwrap().unwrap()
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn who_is_superseded_while_waiting_ends_at_once() {
    let (mut caller, incoming) = caller().await;
    let mut first = ReplayContent::new(incoming, MOST, None);
    let spare = first.spare().unwrap();
    caller.write_all(b"first ").await.unwrap();
    assert_eq!(piece(&mut first).await, "first ");
    // Nothing comes, so nobody else would wake it.
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    assert!(first.poll_data(&mut cx).is_pending());
    let mut second = spare.restore().unwrap();
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    let over = next(&mut first).await;
    assert!(
        matches!(over, Some(Err(ReplayFault::Superseded))),
        "{over:?}"
    );
    // The second has it all, and the first takes nothing of it.
    assert_eq!(second.left(), Some(12));
    assert_eq!(piece(&mut second).await, "first ");
    caller.write_all(b"second").await.unwrap();
    assert_eq!(piece(&mut second).await, "second");
    assert!(second.is_end());
    assert!(matches!(
        next(&mut first).await,
        Some(Err(ReplayFault::Superseded))
    ));
}

#[tokio::test]
async fn it_is_kept_only_while_somebody_may_send_it_again() {
    let (mut caller, incoming) = caller().await;
    let mut first = ReplayContent::new(incoming, MOST, None);
    let spares = [first.spare().unwrap(), first.spare().unwrap()];
    let kept = |content: &ReplayContent| content.tape.lock().kept.length();
    caller.write_all(b"four").await.unwrap();
    piece(&mut first).await;
    let [spare, other] = spares;
    drop(other);
    caller.write_all(b"more").await.unwrap();
    piece(&mut first).await;
    assert_eq!(kept(&first), 8, "for the one that is left");
    drop(spare);
    caller.write_all(b"rest").await.unwrap();
    assert_eq!(piece(&mut first).await, "rest");
    assert_eq!(kept(&first), 0);
    assert!(first.spare().is_none(), "too late");
    assert!(next(&mut first).await.is_none());
}

#[tokio::test]
async fn what_is_too_long_is_not_kept() {
    let (mut caller, incoming) = caller().await;
    let mut content = ReplayContent::new(incoming, 11, None);
    assert!(content.spare().is_none(), "known beforehand");
    caller.write_all(b"twelve bytes").await.unwrap();
    assert_eq!(piece(&mut content).await, "twelve bytes");
    assert_eq!(content.tape.lock().kept.length(), 0);
}

#[test]
fn what_is_kept_can_be_read_from_any_position() {
    let lengths = [1, 3 * SHORT, SHORT - 1, 3, SHORT, 0, 70_000, 2, 1];
    let all: Vec<u8> = (0..=250).cycle().take(lengths.iter().sum()).collect();
    let whole = Bytes::from(all);
    let mut kept = Kept::default();
    let mut begin = 0;
    for length in lengths {
        kept.push(&whole.slice(begin..begin + length));
        begin += length;
        assert_eq!(kept.length(), begin);
    }
    for start in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
        let mut position = start;
        while let Some(some) = kept.at(position) {
            assert!(!some.is_empty() && some.len() <= PIECE);
            assert!(
                some == whole[position..position + some.len()],
                "at {position}"
            );
            position += some.len();
        }
        assert_eq!(position, whole.len());
    }
    assert_eq!(kept.at(whole.len() + 1), None);
    // Long pieces are not copied.
    assert_eq!(kept.at(1).unwrap().as_ptr(), whole[1..].as_ptr());
}

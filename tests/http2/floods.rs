//! What is written to keep a proxy busy: the connection ends, and others are served meanwhile.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::task::JoinHandle;

use super::server::Http2Upstream;
use crate::harness::{Keybearer, connection, within};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET http://localhost/p/wait`, fields by fields of the static table (RFC 7541 appendix A).
fn head(path: &str) -> Vec<u8> {
    let mut head = vec![0x82, 0x86];
    for (index, value) in [(0x04, path), (0x01, "localhost")] {
        head.extend([index, u8::try_from(value.len()).unwrap()]);
        head.extend(value.as_bytes());
    }
    head
}

fn open(stream: u32, flags: u8) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &head("/p/wait"))
}

/// A caller that writes frames and reads whatever comes, to the end.
struct Flooder {
    writing: OwnedWriteHalf,
    reading: JoinHandle<Vec<u8>>,
}

impl Flooder {
    async fn connect(keybearer: &Keybearer) -> Self {
        let stream = TcpStream::connect(keybearer.proxy()).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        writing.write_all(PREFACE).await.unwrap();
        let settings = frame(SETTINGS, 0, 0, &[]);
        writing.write_all(&settings).await.unwrap();
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            // A reset is an end like another.
            let _ = reading.read_to_end(&mut all).await;
            all
        });
        Self { writing, reading }
    }

    /// Writes what `make` gives, with the numbers of new streams, until the connection has ended.
    async fn flood(mut self, mut make: impl FnMut(u32) -> Vec<u8>) {
        let mut stream = 1;
        while !self.reading.is_finished() {
            if self.writing.write_all(&make(stream)).await.is_err() {
                break;
            }
            stream += 2;
            tokio::task::yield_now().await;
        }
        self.reading.await.unwrap();
    }
}

type Make = fn(u32) -> Vec<u8>;

const FLOODS: [(&str, Make); 9] = [
    ("rapid reset", |stream| {
        let reset = frame(RESET, 0, stream, &8_u32.to_be_bytes());
        [open(stream, END_STREAM), reset].concat()
    }),
    ("endless head", |stream| match stream {
        1 => frame(HEADERS, 0, 1, &head("/p/wait")),
        _ => frame(CONTINUATION, 0, 1, &[]),
    }),
    ("SETTINGS", |_| frame(SETTINGS, 0, 0, &[]).repeat(100)),
    ("PING", |_| frame(PING, 0, 0, &[0; 8]).repeat(100)),
    ("PRIORITY", |_| {
        frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 16]).repeat(100)
    }),
    ("empty DATA", |stream| match stream {
        1 => open(1, 0),
        _ => frame(DATA, 0, 1, &[]).repeat(100),
    }),
    ("tiny WINDOW_UPDATE", |stream| match stream {
        1 => open(1, END_STREAM),
        _ => frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]).repeat(100),
    }),
    ("streams that we break", |stream| {
        let zero = frame(WINDOW_UPDATE, 0, stream, &[0; 4]);
        [open(stream, 0), zero].concat()
    }),
    ("large fields", |stream| {
        let mut value = vec![0x00, 0x01, b'x', 0x7f, 0x81, 0x7e];
        value.resize(16_000, b'y');
        match stream {
            1 => frame(HEADERS, 0, 1, &head("/p/wait")),
            _ => frame(CONTINUATION, 0, 1, &value),
        }
    }),
];

async fn pair() -> (Http2Upstream, Keybearer) {
    let upstream = Http2Upstream::start().await;
    let rest = "http = \"2\"\nauth = { type = \"none\" }";
    let keybearer = Keybearer::start(&connection("p", &upstream.url(""), rest)).await;
    (upstream, keybearer)
}

#[tokio::test]
async fn floods_end_their_connection_and_nobody_elses() {
    let (_upstream, keybearer) = pair().await;
    assert_eq!(keybearer.get("/p/x").send().await.status, 200);
    let before = keybearer.resident();
    for (what, make) in FLOODS {
        let flooding = Flooder::connect(&keybearer).await.flood(make);
        let served = async {
            for _ in 0..5 {
                let status = keybearer.get("/p/x").send().await.status;
                assert_eq!(status, 200, "during {what}");
            }
        };
        let both = futures_util::future::join(flooding, served);
        within(&format!("the end of {what}"), both).await;
    }
    let grown = keybearer.resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown}");
}

#[tokio::test]
async fn fields_of_the_old_protocols_hop_reset_their_stream() {
    let (_upstream, keybearer) = pair().await;
    let mut caller = TcpStream::connect(keybearer.proxy()).await.unwrap();
    let mut asked = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let mut stream = 1;
    for (name, value) in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("keep-alive", "5"),
    ] {
        let mut fields = head("/p/x");
        for text in [name, value] {
            if text == name {
                fields.push(0);
            }
            fields.push(u8::try_from(text.len()).unwrap());
            fields.extend(text.as_bytes());
        }
        asked.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields));
        stream += 2;
    }
    caller.write_all(&asked).await.unwrap();
    let mut read = Vec::new();
    let count = |read: &[u8], wanted| frames(read).filter(|(kind, _)| *kind == wanted).count();
    while count(&read, RESET) < 4 {
        let more = within("four resets", caller.read_buf(&mut read)).await;
        assert_ne!(more.unwrap(), 0, "it ended before that");
    }
    assert_eq!(count(&read, HEADERS), 0, "answers");
}

/// Kind and payload of each frame.
fn frames(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = bytes.split_first_chunk::<9>()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let (payload, rest) = rest.split_at_checked(length as usize)?;
        bytes = rest;
        Some((head[3], payload))
    })
}

#[tokio::test]
async fn who_gives_up_all_requests_one_by_one_is_let_go() {
    let (upstream, keybearer) = pair().await;
    let mut flooder = Flooder::connect(&keybearer).await;
    let mut stream = 1;
    let shared = upstream.shared();
    let given_up = async {
        while !flooder.reading.is_finished() && stream < 4000 {
            let begun = shared.begun.load(std::sync::atomic::Ordering::SeqCst);
            if flooder
                .writing
                .write_all(&open(stream, END_STREAM))
                .await
                .is_err()
            {
                break;
            }
            // Not before the upstream has it: each costs it something.
            while shared.begun.load(std::sync::atomic::Ordering::SeqCst) == begun
                && !flooder.reading.is_finished()
            {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            let reset = frame(RESET, 0, stream, &8_u32.to_be_bytes());
            let _ = flooder.writing.write_all(&reset).await;
            stream += 2;
        }
    };
    within("the end", given_up).await;
    assert!(stream < 4000, "it went on");
    assert_eq!(keybearer.get("/p/x").send().await.status, 200);
}

#[tokio::test]
async fn answers_no_window_is_opened_for_hold_no_memory() {
    let (_upstream, keybearer) = pair().await;
    let before = keybearer.resident();
    let mut flooder = Flooder::connect(&keybearer).await;
    // SETTINGS_INITIAL_WINDOW_SIZE is 0.
    let closed = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    flooder.writing.write_all(&closed).await.unwrap();
    for stream in 0..100 {
        let asked = frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            2 * stream + 1,
            &head("/p/fill"),
        );
        flooder.writing.write_all(&asked).await.unwrap();
    }
    for _ in 0..20 {
        assert_eq!(keybearer.get("/p/x").send().await.status, 200);
    }
    let grown = keybearer.resident().saturating_sub(before);
    // What is taken ahead of 100 answers, and no more.
    assert!(grown < 96 << 20, "{grown}");
}

//! What AWS's framing costs.

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use keybearer::upstream::aws_chunked::SignChunk;
use keybearer::upstream::aws_chunked::checksum::Checksum;
use keybearer::upstream::aws_chunked::encode::{Coverage, Encoder, Layout};
use keybearer::upstream::aws_chunked::framing::Coding;
use keybearer::upstream::aws_chunked::trailer::Announced;
use keybearer::upstream::content::Content;

/// Signs with what it was given.
struct Unkeyed;

impl SignChunk for Unkeyed {
    fn chunk(&mut self, sha256: &[u8; 32]) -> [u8; 64] {
        let mut signature = [b'0'; 64];
        signature[..32].copy_from_slice(sha256);
        signature
    }

    fn trailer(&mut self, _: &[u8]) -> [u8; 64] {
        [b'0'; 64]
    }
}

/// All that comes out of content.
fn through(content: Content) -> usize {
    let mut content = content;
    let mut count = 0;
    while let Some(frame) = content.frame().now_or_never().unwrap() {
        count += frame.unwrap().into_data().unwrap().len();
    }
    count
}

pub(crate) fn aws_chunked(criterion: &mut Criterion) {
    const LENGTH: u64 = 1 << 20;
    let mut head = HeaderMap::new();
    let names = "x-amz-checksum-crc64nvme";
    head.insert("x-amz-trailer", HeaderValue::from_static(names));
    let layout = Layout::new(Coverage::Signed, LENGTH, Announced::parse(&head).unwrap());
    layout.write_fields(&mut head);
    let Coding::Framed(framing) = Coding::of(&head).unwrap() else {
        unreachable!()
    };
    let mut checksum = Checksum::named(&names.parse().unwrap()).unwrap();
    let data = Bytes::from(vec![b'x'; LENGTH as usize]);
    checksum.update(&data);
    let mut body = Vec::new();
    for piece in data.chunks(64 << 10) {
        body.extend_from_slice(format!("{:x};chunk-signature=0\r\n", piece.len()).as_bytes());
        body.extend_from_slice(piece);
        body.extend_from_slice(b"\r\n");
    }
    let end = format!(
        "{names}:{}\r\nx-amz-trailer-signature:0\r\n\r\n",
        checksum.finish()
    );
    body.extend_from_slice(b"0;chunk-signature=0\r\n");
    body.extend_from_slice(end.as_bytes());
    let body = Bytes::from(body);

    let mut group = criterion.benchmark_group("aws-chunked, 1 MiB");
    group.throughput(Throughput::Bytes(LENGTH));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| through(Content::unframed(Content::held(body.clone()), &framing)));
    });
    let encoder = |layout: &Layout| Encoder::new(layout.clone(), || Box::new(Unkeyed));
    group.bench_function("encode", |bencher| {
        let layout = Layout::new(Coverage::Signed, LENGTH, Announced::default());
        bencher.iter(|| {
            through(Content::framed(
                Content::held(data.clone()),
                encoder(&layout),
            ))
        });
    });
    group.bench_function("decode, encode", |bencher| {
        bencher.iter(|| {
            let content = Content::unframed(Content::held(body.clone()), &framing);
            through(Content::framed(content, encoder(&layout)))
        });
    });
    group.finish();
}

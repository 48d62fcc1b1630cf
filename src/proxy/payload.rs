//! What becomes of the content of a request that is signed: [`settle`] hashes it, has it signed chunk
//! by chunk or leaves it unsigned, by the connection's `payload` and by what the service takes.
//!
//! With `payload = "auto"`:
//!
//! | content | S3 | other services |
//! |---|---|---|
//! | its SHA-256 is in the caller's head | streamed under that | streamed under that |
//! | up to `limits.signed_body` | hashed whole | hashed whole |
//! | longer, of known length | signed in chunks | refused: 413 |
//! | longer, of unknown length | unsigned, over TLS and where it is not AWS's own; else refused: 413 | refused: 413 |
//! | in AWS's framing | framed and signed anew | as above, without the framing |

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Request};
use http_body::Body;

use crate::auth::aws::sign::payload::PayloadHash;
use crate::connection::Connection;
use crate::connection::aws::{Aws, Payload, Region, host};
use crate::problem::{Kind, Problem};
use crate::upstream::aws_chunked::CONTENT_SHA256;
use crate::upstream::aws_chunked::encode::{Coverage, Encoder, Layout};
use crate::upstream::aws_chunked::framing::{Coding, Framing};
use crate::upstream::aws_chunked::trailer::Announced;
use crate::upstream::content::{Content, ContentFault};
use crate::upstream::fault::content_problem;

/// What the caller's head says of its content, read before the fields that say it are stripped.
#[derive(Debug, Default)]
pub(super) struct Told {
    framing: Option<Framing>,
    /// The content's SHA-256, as the caller has computed it; the upstream compares it.
    hash: Option<[u8; 32]>,
}

impl Told {
    /// Reads a head, and takes out of it what is about the framing, which ends here.
    ///
    /// # Errors
    /// It is malformed, or the content is of a kind that cannot be signed anew.
    pub(super) fn take(headers: &mut HeaderMap) -> Result<Self, Problem> {
        match Coding::of(headers)? {
            Coding::Plain => Ok(Self {
                framing: None,
                hash: headers.get(CONTENT_SHA256).and_then(sha256),
            }),
            Coding::Framed(framing) => {
                Framing::take_fields(headers);
                Ok(Self {
                    framing: Some(framing),
                    hash: None,
                })
            }
            Coding::Events => Err(Problem::new(
                Kind::UnsupportedContent,
                "the content is a stream of signed events, which cannot be signed anew; call the service's operation that takes no event stream",
            )),
        }
    }

    /// Whether the content can go as it comes, and so may be kept to be sent again.
    pub(super) fn may_stream(&self) -> bool {
        self.hash.is_some()
    }

    fn trailers(&self) -> Announced {
        let framing = self.framing.as_ref();
        framing.map_or_else(Announced::default, |framing| framing.trailers().clone())
    }

    /// How the content is framed, if it is.
    pub(super) fn framing(&self) -> Option<&Framing> {
        self.framing.as_ref()
    }
}
/// 64 hexadecimal digits.
fn sha256(value: &HeaderValue) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = value.as_bytes().try_into().ok()?;
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.as_chunks::<2>().0) {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? << 4 | low?).ok()?;
    }
    Some(hash)
}

/// How a request is signed once its content is settled.
pub(super) enum Settled {
    /// Its head covers the content by this.
    Head(PayloadHash),
    /// Its head is signed first, and then each chunk by what that gives.
    Chunks(Layout),
}

/// What is done with content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It is signed in chunks; it has so many bytes.
    Chunks(u64),
    /// It is read whole and hashed.
    Hash,
    /// It is read and hashed if it turns out to be short enough, and else not signed.
    HashIfShort,
    /// It goes as it comes, under the hash that the caller has told.
    Told([u8; 32]),
    /// It goes as it comes.
    Unsigned,
    /// It goes in chunks that are not signed, with its checksums after it; it has so many bytes.
    UnsignedChunks(u64),
}

/// Settles the content of a request, whose head then says of it what it has to say.
///
/// # Errors
/// The content is not there whole, or the service does not take it.
pub(super) async fn settle(
    aws: &Aws,
    connection: &Connection,
    told: Told,
    request: &mut Request<Content>,
) -> Result<Settled, Problem> {
    let mut content = std::mem::take(request.body_mut());
    if content.is_end_stream() && told.framing.is_none() {
        return Ok(Settled::Head(match aws.takes_unsigned_alone() {
            true => PayloadHash::Unsigned,
            false => PayloadHash::Empty,
        }));
    }
    let sizes = Sizes {
        length: match &told.framing {
            Some(framing) => framing.decoded_length(),
            None => content.size_hint().exact(),
        },
        limit: connection.limits.signed_body,
        is_private: connection.base_url.is_tls(),
        is_aws: connection.base_url.host().is_some_and(host::is_aws),
    };
    let way = way(aws, sizes, &told);
    if let Some(framing) = &told.framing {
        content = Content::unframed(content, framing);
    }
    let headers = request.headers_mut();
    let (settled, content) = match way {
        Way::Hash => {
            let refused = |fault| refused(fault, &aws.service, sizes.length);
            let read = connection.timeouts.read;
            let whole = content.collect_trailed(sizes.limit, read).await;
            let (whole, trailers) = whole.map_err(refused)?;
            trailers.write_fields(headers);
            hashed(whole, headers)
        }
        Way::HashIfShort => {
            let held = content.hold_if_short(sizes.limit, connection.timeouts.read);
            let held = held.await.map_err(|fault| content_problem(&fault))?;
            match held.whole() {
                Some(whole) => hashed(whole, headers),
                None => (Settled::Head(PayloadHash::Unsigned), held),
            }
        }
        Way::Told(hash) => (Settled::Head(PayloadHash::Hash(hash)), content),
        Way::Unsigned => {
            if let Some(length) = sizes.length {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
            (Settled::Head(PayloadHash::Unsigned), content)
        }
        Way::Chunks(length) => {
            let layout = Layout::new(Coverage::Signed, length, told.trailers());
            layout.write_fields(headers);
            (Settled::Chunks(layout), content)
        }
        Way::UnsignedChunks(length) => {
            let layout = Layout::new(Coverage::Unsigned, length, told.trailers());
            layout.write_fields(headers);
            let framed = Content::framed(content, Encoder::unsigned(layout));
            (Settled::Head(PayloadHash::UnsignedTrailer), framed)
        }
    };
    *request.body_mut() = content;
    Ok(settled)
}

/// What is known of content.
#[derive(Clone, Copy)]
struct Sizes {
    /// How long it is without framing.
    length: Option<u64>,
    /// How much of it may be held.
    limit: u64,
    /// Whether nobody on the way can change it.
    is_private: bool,
    /// Whether it goes to AWS itself, where S3 takes no content of unknown length.
    is_aws: bool,
}

fn way(aws: &Aws, sizes: Sizes, told: &Told) -> Way {
    let Sizes {
        length,
        limit,
        is_private,
        is_aws,
    } = sizes;
    let s3 = aws.is_s3();
    let by_chunks = s3 && matches!(aws.region, Region::One(_));
    let has_trailers = told
        .framing
        .as_ref()
        .is_some_and(|f| !f.trailers().is_empty());
    let unsigned = match length {
        // Content of no length is not read while it is sent, and its framing has to be.
        Some(0) => Way::Hash,
        Some(length) if s3 && has_trailers => Way::UnsignedChunks(length),
        _ => Way::Unsigned,
    };
    match (aws.payload, length) {
        (Payload::Unsigned, _) => unsigned,
        (Payload::Auto, _) if aws.takes_unsigned_alone() => unsigned,
        (Payload::Chunked, Some(length)) if by_chunks => Way::Chunks(length),
        (Payload::Auto, Some(length)) if by_chunks && told.framing.is_some() => Way::Chunks(length),
        (_, Some(_)) if told.hash.is_some() => told.hash.map_or(Way::Hash, Way::Told),
        (Payload::Signed, _) => Way::Hash,
        (_, Some(length)) if length <= limit => Way::Hash,
        (_, Some(length)) if by_chunks => Way::Chunks(length),
        (_, Some(_)) if s3 && is_private => unsigned,
        (_, None) if s3 && is_private && !is_aws && told.framing.is_none() => Way::HashIfShort,
        _ => Way::Hash,
    }
}

fn hashed(whole: Bytes, headers: &mut HeaderMap) -> (Settled, Content) {
    headers.insert(CONTENT_LENGTH, HeaderValue::from(whole.len()));
    let hash = PayloadHash::of(&whole);
    (Settled::Head(hash), Content::held(whole))
}

/// Content that is too long is so because of what the service demands.
fn refused(fault: ContentFault, service: &str, length: Option<u64>) -> Problem {
    let ContentFault::TooLargeToHold(limit) = fault else {
        return content_problem(&fault);
    };
    let text = match length {
        None => format!(
            "the content is longer than {limit} bytes, and nothing says how long; send it with Content-Length, or raise limits.signed_body"
        ),
        Some(_) => format!(
            "the content is longer than {limit} bytes, and `{service}` takes it under a hash of all of it only; raise limits.signed_body, or send its SHA-256 as X-Amz-Content-Sha256, so that it need not be held"
        ),
    };
    Problem::new(Kind::ContentTooLarge, text).closing()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::aws::Source;
    use http::HeaderName;

    fn aws(service: &str, region: &str, payload: Payload) -> Aws {
        Aws {
            kind: "aws_access_key",
            service: service.into(),
            region: match region {
                "*" => Region::Set("*".into()),
                one => Region::One(one.into()),
            },
            payload,
            source: Source::Default,
        }
    }

    fn told(fields: &[(&'static str, &'static str)]) -> Told {
        let mut headers = fields
            .iter()
            .map(|&(name, value)| {
                let name = HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            })
            .collect();
        Told::take(&mut headers).unwrap()
    }

    fn plain() -> Told {
        Told::default()
    }

    fn trailed() -> Told {
        told(&[
            ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
            ("x-amz-trailer", "x-amz-checksum-crc32"),
            ("x-amz-decoded-content-length", "99"),
        ])
    }

    const HASH: [u8; 32] = [0xab; 32];

    fn hashed() -> Told {
        Told {
            framing: None,
            hash: Some(HASH),
        }
    }

    fn of(aws: &Aws, told: &Told, length: Option<u64>, is_private: bool) -> Way {
        let sizes = Sizes {
            length,
            limit: 100,
            is_private,
            is_aws: false,
        };
        way(aws, sizes, told)
    }

    #[test]
    fn by_itself_each_content_goes_the_way_that_its_service_takes() {
        let (s3, sqs) = (
            aws("s3", "us-east-1", Payload::Auto),
            aws("sqs", "us-east-1", Payload::Auto),
        );
        for (told, length, for_s3, for_sqs) in [
            (plain(), Some(100), Way::Hash, Way::Hash),
            (plain(), Some(101), Way::Chunks(101), Way::Hash),
            (plain(), None, Way::HashIfShort, Way::Hash),
            (hashed(), Some(10), Way::Told(HASH), Way::Told(HASH)),
            (hashed(), Some(1000), Way::Told(HASH), Way::Told(HASH)),
            (hashed(), None, Way::HashIfShort, Way::Hash),
            (trailed(), Some(99), Way::Chunks(99), Way::Hash),
            (trailed(), None, Way::Hash, Way::Hash),
        ] {
            assert_eq!(of(&s3, &told, length, true), for_s3, "{told:?} {length:?}");
            assert_eq!(
                of(&sqs, &told, length, true),
                for_sqs,
                "{told:?} {length:?}"
            );
        }
        assert_eq!(of(&s3, &plain(), None, false), Way::Hash, "in cleartext");
    }

    #[test]
    fn what_the_configuration_demands_is_done_where_it_can_be() {
        let s3 = |payload| aws("s3", "us-east-1", payload);
        for (payload, told, length, way) in [
            (Payload::Unsigned, plain(), Some(10), Way::Unsigned),
            (Payload::Unsigned, hashed(), Some(10), Way::Unsigned),
            (Payload::Unsigned, plain(), None, Way::Unsigned),
            (
                Payload::Unsigned,
                trailed(),
                Some(99),
                Way::UnsignedChunks(99),
            ),
            (Payload::Unsigned, trailed(), Some(0), Way::Hash),
            (Payload::Chunked, plain(), Some(10), Way::Chunks(10)),
            (Payload::Chunked, hashed(), Some(10), Way::Chunks(10)),
            (Payload::Signed, plain(), Some(1000), Way::Hash),
            (Payload::Signed, hashed(), Some(1000), Way::Told(HASH)),
            (Payload::Signed, trailed(), Some(99), Way::Hash),
        ] {
            assert_eq!(
                of(&s3(payload), &told, length, true),
                way,
                "{payload:?} {told:?}"
            );
        }
        let everywhere = aws("s3", "*", Payload::Auto);
        assert_eq!(of(&everywhere, &plain(), Some(101), true), Way::Unsigned);
        assert_eq!(of(&everywhere, &plain(), Some(101), false), Way::Hash);
        assert_eq!(of(&everywhere, &trailed(), Some(99), true), Way::Hash);
    }

    #[test]
    fn a_hash_is_64_digits() {
        let hash = |text: &str| sha256(&HeaderValue::from_str(text).unwrap());
        assert_eq!(hash(&"aB".repeat(32)), Some(HASH));
        for text in [
            "UNSIGNED-PAYLOAD",
            &"a".repeat(63),
            &"+f".repeat(32),
            &"g".repeat(64),
        ] {
            assert_eq!(hash(text), None, "{text}");
        }
    }
}

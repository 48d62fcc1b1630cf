//! Framed content taken apart: [`Decoder`].

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue};

use super::TRAILER_SIGNATURE;
use super::checksum::{self, Checksum};
use super::framing::Framing;
use super::trailer::Trailers;

/// Longer lines are refused, in bytes: the longest that are known have a tenth of that.
const MAX_LINE: usize = 1024;

/// How many empty lines may stand at the end. One ends the content; minio-go writes two, and examples
/// in AWS's documentation have more.
const MAX_EMPTY: u8 = 4;

/// Framed content as it arrives, in pieces of any size.
///
/// Data comes out as slices of what went in.
pub struct Decoder {
    state: State,
    /// What is there of a line that arrives in pieces.
    line: BytesMut,
    /// How many bytes were taken.
    at: u64,
    /// How many of them were data.
    decoded: u64,
    announced: Option<u64>,
    trailers: Vec<Trailer>,
    /// Whether the trailers' signature is still to come.
    signature: Signature,
    broken: Option<Malformed>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// At the line that has a chunk's size.
    Size,
    /// In a chunk of which this much is left.
    Data(u64),
    /// At the rest of the line end behind a chunk's data.
    DataEnd(&'static [u8]),
    /// At a line behind the last chunk.
    Trailers,
    /// Behind this many empty lines.
    Ended(u8),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Signature {
    Demanded,
    Allowed,
    Seen,
}

struct Trailer {
    name: HeaderName,
    value: Option<HeaderValue>,
    /// None where the algorithm is not known, and once it was compared.
    checksum: Option<Checksum>,
}

/// Where and how content breaks its framing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}, at byte {at}")]
pub struct Malformed {
    /// What is wrong.
    pub fault: Fault,
    /// Where, counted from the start of the framed content.
    pub at: u64,
}

/// How content can break its framing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Data goes on behind the end.
    #[error("there is more behind its end")]
    AfterEnd,
    /// A checksum is not that of the content.
    #[error("`{0}` is not the checksum of what arrived")]
    Checksum(HeaderName),
    /// Data does not end where its chunk does.
    #[error("a chunk's data does not end where its size says")]
    DataEnd,
    /// A line is longer than any has to be.
    #[error("a line is longer than {MAX_LINE} bytes")]
    LongLine,
    /// An announced trailer is not there.
    #[error("the trailer `{0}` is announced and does not follow")]
    Missing(HeaderName),
    /// A trailer is there that nobody announced.
    #[error("the trailer `{0}` is not announced in `x-amz-trailer`")]
    NotAnnounced(HeaderName),
    /// A size line is none.
    #[error("a line that should have a chunk's size has none")]
    Size,
    /// It has less data than announced.
    #[error("it has fewer bytes than the {0} of `x-amz-decoded-content-length`")]
    TooShort(u64),
    /// It has more data than announced.
    #[error("it has more bytes than the {0} of `x-amz-decoded-content-length`")]
    TooLong(u64),
    /// A line behind the last chunk is no trailer.
    #[error("a line that should be a trailer is none")]
    Trailer,
    /// A trailer comes twice.
    #[error("the trailer `{0}` comes twice")]
    Twice(HeaderName),
    /// It stops before its end.
    #[error("it stops before its last chunk, its trailers or the empty line behind them")]
    Unended,
    /// The trailers are not signed, although each chunk is.
    #[error("`{TRAILER_SIGNATURE}` is missing")]
    Unsigned,
}

impl Decoder {
    /// A decoder of content that is framed so.
    pub fn new(framing: &Framing) -> Self {
        let trailers = framing.trailers().iter().map(|name| Trailer {
            name: name.clone(),
            value: None,
            checksum: Checksum::named(name),
        });
        let trailers: Vec<_> = trailers.collect();
        let signature = if framing.is_signed() && !trailers.is_empty() {
            Signature::Demanded
        } else {
            Signature::Allowed
        };
        Self {
            state: State::Size,
            line: BytesMut::new(),
            at: 0,
            decoded: 0,
            announced: framing.decoded_length(),
            trailers,
            signature,
            broken: None,
        }
    }

    /// Whether all announced data has come out. Its checksums may still be wrong.
    pub fn is_full(&self) -> bool {
        self.announced == Some(self.decoded)
    }

    /// The next data of `input`, from which it is taken; none once all of `input` was taken.
    ///
    /// # Errors
    /// The framing is broken, here or earlier.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, Malformed> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let decoded = self.advance(input);
        if let Err(malformed) = &decoded {
            self.broken = Some(malformed.clone());
        }
        decoded
    }

    /// What followed the content, when no more input comes.
    ///
    /// # Errors
    /// The framing is broken, here or earlier.
    pub fn finish(&mut self) -> Result<Trailers, Malformed> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        if !matches!(self.state, State::Ended(1..)) || !self.line.is_empty() {
            return Err(self.fault(Fault::Unended));
        }
        if self.signature == Signature::Demanded {
            return Err(self.fault(Fault::Unsigned));
        }
        let told = |trailer: &Trailer| Some((trailer.name.clone(), trailer.value.clone()?));
        Ok(Trailers::new(
            self.trailers.iter().filter_map(told).collect(),
        ))
    }

    fn advance(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, Malformed> {
        while !input.is_empty() {
            match self.state {
                State::Data(left) => return Ok(Some(self.data(left, input))),
                State::DataEnd(rest) => self.data_end(rest, input)?,
                State::Size | State::Trailers | State::Ended(_) => {
                    let start = self.at;
                    let Some(line) = self.line(input)? else { break };
                    let told = match self.state {
                        State::Size => self.size(&line),
                        _ => self.behind(&line),
                    };
                    told.map_err(|fault| Malformed { fault, at: start })?;
                }
            }
        }
        Ok(None)
    }

    fn data(&mut self, left: u64, input: &mut Bytes) -> Bytes {
        let count = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let data = input.split_to(count);
        for checksum in self.trailers.iter_mut().filter_map(|t| t.checksum.as_mut()) {
            checksum.update(&data);
        }
        let count = count as u64;
        self.at += count;
        self.decoded += count;
        self.state = match left - count {
            0 => State::DataEnd(b"\r\n"),
            left => State::Data(left),
        };
        data
    }

    fn data_end(&mut self, rest: &'static [u8], input: &mut Bytes) -> Result<(), Malformed> {
        let before = ("\r\n".len() - rest.len()) as u64;
        let (here, rest) = rest.split_at(rest.len().min(input.len()));
        if !input.starts_with(here) {
            return Err(Malformed {
                fault: Fault::DataEnd,
                at: self.at - before,
            });
        }
        drop(input.split_to(here.len()));
        self.at += here.len() as u64;
        self.state = match rest {
            [] => State::Size,
            rest => State::DataEnd(rest),
        };
        Ok(())
    }

    /// The next line with its end, once all of it is there.
    fn line(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, Malformed> {
        let end = input.iter().take(MAX_LINE).position(|&byte| byte == b'\n');
        let count = end.map_or(input.len(), |end| end + 1);
        if self.line.len() + count > MAX_LINE {
            return Err(self.fault(Fault::LongLine));
        }
        let part = input.split_to(count);
        // Lines are blamed by their start.
        if end.is_none() {
            self.line.extend_from_slice(&part);
            return Ok(None);
        }
        if self.line.is_empty() {
            self.at += part.len() as u64;
            return Ok(Some(part));
        }
        self.line.extend_from_slice(&part);
        self.at += self.line.len() as u64;
        Ok(Some(self.line.split().freeze()))
    }

    /// A size, and extensions, which are only signatures of keys that mean nothing.
    fn size(&mut self, line: &[u8]) -> Result<(), Fault> {
        let line = line.strip_suffix(b"\r\n").ok_or(Fault::Size)?;
        let visible = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
        if !line.iter().all(visible) {
            return Err(Fault::Size);
        }
        let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
        let size = hexadecimal(digits.trim_ascii_end()).ok_or(Fault::Size)?;
        let whole = self.decoded.checked_add(size).ok_or(Fault::Size)?;
        match self.announced {
            Some(announced) if whole > announced => return Err(Fault::TooLong(announced)),
            Some(announced) if size == 0 && whole < announced => {
                return Err(Fault::TooShort(announced));
            }
            _ => {}
        }
        self.state = match size {
            0 => State::Trailers,
            size => State::Data(size),
        };
        Ok(())
    }

    /// A line behind the last chunk. minio-go writes an empty one before the signature, and ends
    /// trailers with a line feed alone, as they are signed.
    fn behind(&mut self, line: &[u8]) -> Result<(), Fault> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let ended = match self.state {
            State::Ended(lines) => lines,
            _ => 0,
        };
        if line.is_empty() {
            return self.empty_line(ended);
        }
        let (name, value) = field(line).ok_or(match ended {
            0 => Fault::Trailer,
            _ => Fault::AfterEnd,
        })?;
        if name == TRAILER_SIGNATURE {
            if self.signature == Signature::Seen {
                return Err(Fault::Twice(name));
            }
            self.signature = Signature::Seen;
            self.state = State::Ended(0);
            return self.all_there();
        }
        if matches!(self.state, State::Ended(_)) {
            return Err(Fault::AfterEnd);
        }
        self.trailer(name, value)
    }

    fn empty_line(&mut self, before: u8) -> Result<(), Fault> {
        if before == MAX_EMPTY {
            return Err(Fault::AfterEnd);
        }
        self.state = State::Ended(before + 1);
        self.all_there()
    }

    fn all_there(&self) -> Result<(), Fault> {
        match self.trailers.iter().find(|trailer| trailer.value.is_none()) {
            Some(trailer) => Err(Fault::Missing(trailer.name.clone())),
            None => Ok(()),
        }
    }

    fn trailer(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), Fault> {
        let Some(trailer) = self
            .trailers
            .iter_mut()
            .find(|trailer| trailer.name == name)
        else {
            return Err(Fault::NotAnnounced(name));
        };
        if trailer.value.is_some() {
            return Err(Fault::Twice(name));
        }
        let right = match trailer.checksum.take() {
            Some(checksum) => checksum.finish().as_bytes() == value.as_bytes(),
            None => checksum::value_length(&name).is_none_or(|length| length == value.len()),
        };
        if !right {
            return Err(Fault::Checksum(name));
        }
        trailer.value = Some(value);
        Ok(())
    }

    fn fault(&self, fault: Fault) -> Malformed {
        Malformed { fault, at: self.at }
    }
}

/// Digits and nothing else: no sign, no prefix.
fn hexadecimal(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    let all = !text.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    all.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
    Some((name, value))
}

#[cfg(test)]
pub(in crate::upstream::aws_chunked) mod tests;

//! Requests that are signed: sent once more where AWS says that the session is over or that our clock
//! is wrong, and answered in words where it says that something else has to be changed.

use std::time::{Duration, SystemTime};

use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response};
use tokio::time::Instant;

use super::admit::Admitted;
use super::body::Answer;
use super::expiry;
use super::payload::{self, Settled};
use super::record::Record;
use super::refusal::{self, Asked, Refusal};
use super::spare::Spare;
use super::{Sending, no_credential};
use crate::auth::Prepared;
use crate::auth::aws::sign::payload::PayloadHash;
use crate::auth::aws::sign::signer::{SignFault, Signer};
use crate::connection::aws::{Aws, Region};
use crate::problem::{Kind, Problem};
use crate::upstream::aws_chunked::encode::Encoder;
use crate::upstream::content::Content;

/// When a request may be sent again that keybearer cannot send again itself.
const SOON: Option<Duration> = Some(Duration::from_secs(1));

/// A request on its way that is signed.
#[derive(Clone, Copy)]
pub(super) struct Signing<'a> {
    pub(super) sending: Sending<'a>,
    pub(super) settings: &'a Aws,
}

/// A request that was sent.
#[derive(Clone, Copy)]
struct Sent {
    /// The time of its signature.
    signed: SystemTime,
    at: Instant,
    is_head: bool,
}

impl Sent {
    /// What the clock that it was signed by shows now.
    fn now(self) -> SystemTime {
        self.signed + self.at.elapsed()
    }
}

/// How a request's signature is written once more, where it is sent once more.
#[derive(Clone, Copy)]
pub(super) struct Signature<'a> {
    signer: &'a Signer,
    payload: PayloadHash,
}

impl Signature<'_> {
    /// Writes it, with the time of now.
    ///
    /// # Errors
    /// There can be none.
    pub(super) fn write(self, request: &mut Request<Content>) -> Result<(), SignFault> {
        let (mut head, content) = std::mem::take(request).into_parts();
        let Self { signer, payload } = self;
        let now = signer.clock().now();
        let signed = signer.sign(&head.method, &head.uri, &mut head.headers, payload, now);
        *request = Request::from_parts(head, content);
        signed.map(drop)
    }
}

/// What can be made of a request once more, and how its signature covers the content.
type Again = (Spare, PayloadHash);

impl Signing<'_> {
    /// Steps 3, 5 and 6 for a request that is signed, and 7.
    pub(super) async fn exchange(
        self,
        prepared: &Prepared<'_>,
        signer: &Signer,
        admitted: &mut Admitted,
        record: &mut Record,
    ) -> Result<Response<Answer>, Problem> {
        admitted.aim(prepared, record)?;
        let settled = self.settle(signer, admitted).await?;
        record.waited();
        let is_head = (admitted.request.as_ref()).is_some_and(|it| *it.method() == Method::HEAD);
        let again: Option<Again> = match (&settled, &admitted.request) {
            // Upgrades are not repeated; the next request has what was learnt.
            (Settled::Head(payload), Some(request)) if admitted.upgrade.is_none() => {
                Spare::of(request).map(|spare| (spare, *payload))
            }
            _ => None,
        };
        let sent = Sent {
            signed: signer.clock().now(),
            at: Instant::now(),
            is_head,
        };
        let response = self.send(prepared, signer, settled, sent, admitted, record);
        let response = response.await?;
        let (refusal, response) = self.read(response, sent).await;
        let Some(refusal) = refusal else {
            prepared.prove();
            return Ok(response);
        };
        record.attempt_over();
        let context = record.context();
        let replace = || (self.sending.live.authenticator).replace_for(prepared, context);
        let (other, again) = match refusal {
            Refusal::Region(named) => return Err(self.elsewhere(named.as_deref())),
            Refusal::Signature => return self.unfit(prepared, signer, response).await,
            Refusal::Skewed(server) => {
                let clock = signer.clock();
                if !clock.correct(server, SystemTime::now(), sent.now()) {
                    return Ok(response);
                }
                self.report_clock(signer);
                let again = restored(again).ok_or_else(clock_corrected)?;
                drop(response);
                return self
                    .repeat(prepared, signer, again, is_head, admitted, record)
                    .await;
            }
            Refusal::Signalled | Refusal::Keys => {
                let Some(other) = replace().await else {
                    return Ok(response);
                };
                let Some(again) = restored(again) else {
                    return Ok(response);
                };
                (other, again)
            }
            Refusal::Expired => {
                let other = replace().await.ok_or_else(|| self.expired())?;
                (other, restored(again).ok_or_else(renewed)?)
            }
        };
        drop(response);
        let signer = other.signer().ok_or_else(|| self.expired())?;
        self.repeat(&other, signer, again, is_head, admitted, record)
            .await
    }

    /// The refusal that an answer is, if it is one, by what AWS says and by the connection's
    /// `refresh_on`; and the answer.
    async fn read(
        self,
        response: Response<Answer>,
        sent: Sent,
    ) -> (Option<Refusal>, Response<Answer>) {
        let asked = Asked {
            is_head: sent.is_head,
            is_s3: self.settings.is_s3(),
            region: &self.settings.region,
            now: sent.now(),
        };
        let (refusal, response) = refusal::read(response, asked).await;
        let signals = self.sending.live.connection.refresh_on.as_deref();
        match (refusal, signals) {
            (None, Some(signals)) => {
                let (expired, response) = expiry::is_sign(response, Some(signals)).await;
                (expired.then_some(Refusal::Signalled), response)
            }
            (refusal, _) => (refusal, response),
        }
    }

    /// Settles target and content: nothing of them changes once they are signed.
    async fn settle(self, signer: &Signer, admitted: &mut Admitted) -> Result<Settled, Problem> {
        let told = admitted.told.take().unwrap_or_default();
        let Some(request) = &mut admitted.request else {
            return Err(nothing_to_sign());
        };
        if admitted.upgrade.is_some() {
            // What follows the head is the new protocol's: the field will not be sent.
            request.headers_mut().remove(CONTENT_LENGTH);
        }
        let target = signer.target(std::mem::take(request.uri_mut()));
        *request.uri_mut() =
            target.map_err(|error| Problem::new(Kind::PathRefused, error.to_string()))?;
        payload::settle(self.settings, &self.sending.live.connection, *told, request).await
    }

    /// Signs a request whose content is settled, and sends it.
    async fn send(
        self,
        prepared: &Prepared<'_>,
        signer: &Signer,
        settled: Settled,
        sent: Sent,
        admitted: &mut Admitted,
        record: &mut Record,
    ) -> Result<Response<Answer>, Problem> {
        let signature = match &settled {
            Settled::Head(payload) => Some(Signature {
                signer,
                payload: *payload,
            }),
            Settled::Chunks(_) => None,
        };
        sign(signer, admitted, settled, sent.signed)?;
        let sending = self.sending;
        sending.send(prepared, admitted, signature, record).await
    }

    /// Sends a request that was refused a second time, for the last time.
    async fn repeat(
        self,
        prepared: &Prepared<'_>,
        signer: &Signer,
        (request, payload): (Request<Content>, PayloadHash),
        is_head: bool,
        admitted: &mut Admitted,
        record: &mut Record,
    ) -> Result<Response<Answer>, Problem> {
        record.waited();
        record.replayed();
        admitted.request = Some(request);
        let sent = Sent {
            signed: signer.clock().now(),
            at: Instant::now(),
            is_head,
        };
        let settled = Settled::Head(payload);
        let response = self.send(prepared, signer, settled, sent, admitted, record);
        let response = response.await?;
        match self.read(response, sent).await {
            (None, response) => {
                prepared.prove();
                Ok(response)
            }
            (Some(Refusal::Region(named)), _) => Err(self.elsewhere(named.as_deref())),
            (Some(Refusal::Signature), response) => self.unfit(prepared, signer, response).await,
            // By the server's own time it was signed now: the reason is another.
            (Some(Refusal::Skewed(_)), response) => Ok(response),
            // With other keys, too: what is refused is the request.
            (Some(Refusal::Expired | Refusal::Keys | Refusal::Signalled), response) => {
                prepared.doubt();
                Ok(response)
            }
        }
    }

    /// A signature that AWS computes otherwise: by another secret, or of another text than was sent.
    async fn unfit(
        self,
        prepared: &Prepared<'_>,
        signer: &Signer,
        response: Response<Answer>,
    ) -> Result<Response<Answer>, Problem> {
        if !prepared.is_renewable() {
            // Notes that they were refused, so that it shows; there are no others.
            let _ = self.sending.live.authenticator.replace(prepared).await;
        }
        if !signer.has_token() {
            return Ok(response);
        }
        // The answer repeats what was signed, and that has the session's token in it.
        let text = "AWS does not accept the signature: the session's secret does not belong to its key, or something between changed the request; see `keybearer status`, and what stands between keybearer and AWS";
        Err(Problem::new(Kind::SignatureRefused, text))
    }

    fn report_clock(self, signer: &Signer) {
        let offset = Duration::from_millis(signer.clock().offset().unsigned_abs());
        let ours = if signer.clock().offset() > 0 {
            "behind"
        } else {
            "ahead"
        };
        tracing::warn!(
            connection = %self.sending.live.connection.name,
            offset = %humantime::format_duration(Duration::from_secs(offset.as_secs())),
            "This machine's clock is {ours} of AWS's; requests are signed by AWS's from now on"
        );
    }

    /// What is asked for is in another region than the one that is signed for.
    fn elsewhere(self, named: Option<&str>) -> Problem {
        let (Region::One(ours) | Region::Set(ours)) = &self.settings.region;
        let text = match named {
            Some(named) => format!(
                "AWS says that what was asked for is in region `{named}`, and this connection signs for `{ours}`; set its auth.region to `{named}`, and its base_url to that region's endpoint"
            ),
            None => format!(
                "AWS says that `{ours}` is not the region of what was asked for; set the connection's auth.region to the one it is in, and base_url to that region's endpoint"
            ),
        };
        Problem::new(Kind::WrongRegion, text)
    }

    /// The keys are over, and there are no others.
    fn expired(self) -> Problem {
        let live = self.sending.live;
        let now = SystemTime::now();
        let trouble = live.authenticator.credential();
        let trouble = trouble.and_then(|credential| credential.value.status().trouble(now));
        match trouble {
            Some(unavailable) => no_credential(live, &unavailable),
            None => Problem::new(
                Kind::CredentialUnavailable,
                "AWS says that the session has expired that this request was signed with; send it again",
            )
            .retry_after(SOON),
        }
    }
}

/// Signs the head, and has the content signed in chunks where that was settled.
fn sign(
    signer: &Signer,
    admitted: &mut Admitted,
    settled: Settled,
    now: SystemTime,
) -> Result<(), Problem> {
    let request = admitted.request.take().ok_or_else(nothing_to_sign)?;
    let (mut head, mut content) = request.into_parts();
    let payload = match &settled {
        Settled::Head(payload) => *payload,
        Settled::Chunks(layout) => PayloadHash::Chunks {
            trailer: layout.has_trailers(),
        },
    };
    let chunks = signer
        .sign(&head.method, &head.uri, &mut head.headers, payload, now)
        .map_err(|fault| Problem::new(Kind::Internal, fault.to_string()))?;
    if let (Settled::Chunks(layout), Some(chunks)) = (settled, chunks) {
        let encoder = Encoder::new(layout, || Box::new(chunks));
        content = Content::framed(content, encoder);
    }
    admitted.request = Some(Request::from_parts(head, content));
    Ok(())
}

/// The request once more, once it is sure that it is sent: who sends the first one sends no more of it.
fn restored(again: Option<Again>) -> Option<(Request<Content>, PayloadHash)> {
    let (spare, payload) = again?;
    Some((spare.restore()?, payload))
}

#[cold]
fn nothing_to_sign() -> Problem {
    Problem::new(Kind::Internal, "there is no request to sign any more")
}

#[cold]
fn clock_corrected() -> Problem {
    let text = "this machine's clock was wrong, and is corrected for AWS from now on; its content was not kept, so send the request again";
    Problem::new(Kind::ClockSkew, text).retry_after(SOON)
}

#[cold]
fn renewed() -> Problem {
    let text = "the session had expired, and was renewed; the content was not kept, so send the request again";
    Problem::new(Kind::CredentialUnavailable, text).retry_after(SOON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_request_is_not_taken_for_a_wrong_clock() {
        let slow = Duration::from_secs(10 * 60);
        let signed = SystemTime::now();
        let sent = Sent {
            signed,
            at: Instant::now().checked_sub(slow).unwrap(),
            is_head: false,
        };
        let late = sent.now().duration_since(signed + slow).unwrap();
        assert!(late < Duration::from_secs(60), "{late:?}");
    }
}

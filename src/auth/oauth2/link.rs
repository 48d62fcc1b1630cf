//! How a person links a connection: the authorization request (RFC 6749 section 4.1, PKCE of RFC
//! 7636, the issuer check of RFC 9207), and device authorization (RFC 8628).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use tokio::time::{Instant, sleep};
use url::Url;

use super::consent::{Consent, Consents, NoRandomness, Outcome, verifier};
use super::exchange::{Ask, ExchangeFault, missing, proof, shown_to, signer};
use super::record::Record;
use super::{Kept, OAuth2Renewal};
use crate::auth::Fixed;
use crate::auth::credentials::Credential;
use crate::auth::device::{self, DeviceAuthorization};
use crate::auth::engine::Changed;
use crate::auth::fetch::Role;
use crate::auth::lease::Lease;
use crate::auth::state::Fault;
use crate::auth::token_endpoint::{TokenAnswer, TokenFault};
use crate::connection::oauth2::{AuthorizationCode, Pkce};
use crate::secret::{Origin, Secret};

/// A connection cannot be linked, or not so.
#[derive(Debug, thiserror::Error)]
pub enum NotLinkable {
    /// It has no `device_authorization_url`.
    #[error("the connection has no `device_authorization_url`; set it, or link with a browser")]
    Device,
    /// What has to be known first could not be had.
    #[error("{0}")]
    Fault(String),
    /// Nobody has to consent.
    #[error("this type of credential needs nobody's consent: there is nothing to link")]
    NotNeeded,
    /// A consent needs texts that nobody can guess.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// There is no console that the provider could send people back to.
    #[error("admin.listen is \"off\": the provider has no address to send people back to")]
    NoRedirect,
}

/// What a provider sends a person back with (RFC 6749 section 4.1.2, RFC 9207).
#[derive(Debug, Default)]
pub struct Returned {
    /// The authorization code.
    pub code: Option<Secret>,
    /// Why there is none.
    pub error: Option<String>,
    /// More about that.
    pub error_description: Option<String>,
    /// Who sent it.
    pub iss: Option<String>,
}

impl Credential {
    /// Begins a consent in a browser; gives the URL that the person has to open.
    ///
    /// # Errors
    /// It cannot be begun.
    pub async fn link(
        self: &Arc<Self>,
        consents: &Consents,
    ) -> Result<(Arc<Consent>, Url), NotLinkable> {
        let (oauth2, code) = self.linkable()?;
        let redirect = oauth2.redirect.as_ref().ok_or(NotLinkable::NoRedirect)?;
        let url = oauth2.authorization_url(code).await.map_err(told)?;
        let verifier = match code.pkce {
            Pkce::Off => None,
            Pkce::Plain | Pkce::S256 => Some(verifier()?),
        };
        let consent = consents.begin(&oauth2.name, self, verifier)?;
        let url = oauth2.authorization_request(url, code, &consent, redirect);
        Ok((consent, url))
    }

    /// Begins a consent on another device.
    ///
    /// # Errors
    /// It cannot be begun.
    pub async fn link_device(
        self: &Arc<Self>,
        consents: &Consents,
    ) -> Result<(Arc<Consent>, DeviceAuthorization), NotLinkable> {
        let (oauth2, code) = self.linkable()?;
        let oauth2 = Arc::clone(oauth2);
        let url = oauth2.device_url(code).await.map_err(told)?;
        let answer = oauth2.device(&url, SystemTime::now()).await;
        let answer = answer.map_err(|fault| NotLinkable::Fault(fault.into_fault().detail))?;
        let consent = consents.begin(&oauth2.name, self, None)?;
        tokio::spawn(poll_device(
            Arc::clone(self),
            oauth2,
            Arc::clone(&consent),
            answer.clone(),
        ));
        Ok((consent, answer))
    }

    /// Whether a person links it.
    pub fn is_linkable(&self) -> bool {
        self.linkable().is_ok()
    }

    /// Forgets its tokens.
    ///
    /// # Errors
    /// It has none that a person gave.
    pub async fn forget(&self) -> Result<(), NotLinkable> {
        let oauth2 = Arc::clone(self.linkable()?.0);
        let (done, is_done) = tokio::sync::oneshot::channel();
        self.value.change(Box::pin(async move {
            let Some(kept) = &oauth2.kept else {
                return Changed::Nothing;
            };
            let mut grant = kept.grant.lock().await;
            match kept.remove().await {
                Ok(()) => {
                    grant.unsaved = None;
                    Changed::Gone(oauth2.not_linked(), done)
                }
                Err(fault) => {
                    let _ = done.send(Err(fault));
                    Changed::Nothing
                }
            }
        }));
        match is_done.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(fault)) => Err(NotLinkable::Fault(fault.detail)),
            Err(_) => Err(NotLinkable::Fault(
                "the credential is no longer kept".to_owned(),
            )),
        }
    }

    fn linkable(&self) -> Result<(&Arc<OAuth2Renewal>, &AuthorizationCode), NotLinkable> {
        let oauth2 = self.oauth2.as_ref().ok_or(NotLinkable::NotNeeded)?;
        let code = oauth2.authorization_code().ok_or(NotLinkable::NotNeeded)?;
        Ok((oauth2, code))
    }
}

impl Consent {
    /// Takes what the provider sent the person back with, and gives what came of it.
    pub async fn complete(self: &Arc<Self>, returned: Returned) -> Outcome {
        let current = self.credential.upgrade();
        let Some(credential) = current.filter(|credential| !credential.value.is_retired()) else {
            let why = "the connection was changed or removed meanwhile; begin again";
            self.end(Outcome::Failed(why.to_owned()));
            return self.outcome();
        };
        let Ok((oauth2, _)) = credential.linkable() else {
            return self.outcome();
        };
        let (oauth2, consent) = (Arc::clone(oauth2), Arc::clone(self));
        // The person's browser may go away: this goes on.
        credential.value.change(Box::pin(async move {
            match oauth2.code_of(returned).await {
                Ok(code) => oauth2.redeem(&consent, &code).await,
                Err(why) => {
                    consent.end(Outcome::Failed(why));
                    Changed::Nothing
                }
            }
        }));
        self.ended().await
    }
}

impl OAuth2Renewal {
    async fn authorization_url(&self, code: &AuthorizationCode) -> Result<Url, TokenFault> {
        if let Some(url) = &code.authorization_url {
            return Ok(url.clone());
        }
        let metadata = self.metadata().await?;
        metadata
            .and_then(|metadata| metadata.authorization_endpoint.clone())
            .ok_or_else(|| missing("authorization_url", "authorization_endpoint"))
    }

    async fn device_url(&self, code: &AuthorizationCode) -> Result<Url, TokenFault> {
        if let Some(url) = &code.device_authorization_url {
            return Ok(url.clone());
        }
        let metadata = self.metadata().await?;
        let absent = || missing("device_authorization_url", "device_authorization_endpoint");
        let metadata = metadata.ok_or_else(absent)?;
        match self.shows_certificate() {
            true => shown_to(metadata.device_for_certificates().ok_or_else(absent)?),
            false => metadata
                .device_authorization_endpoint
                .clone()
                .ok_or_else(absent),
        }
    }

    /// The authorization endpoint's URL, its own query kept, with our parameters after it.
    fn authorization_request(
        &self,
        mut url: Url,
        code: &AuthorizationCode,
        consent: &Consent,
        redirect: &Url,
    ) -> Url {
        let settings = &self.settings;
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &settings.client.id)
            .append_pair("redirect_uri", redirect.as_str())
            .append_pair("state", &consent.id);
        if !settings.scopes.is_empty() {
            query.append_pair("scope", &settings.scopes.join(" "));
        }
        if let Some(audience) = &settings.audience {
            query.append_pair("audience", audience);
        }
        for resource in &settings.resource {
            query.append_pair("resource", resource);
        }
        if let Some(verifier) = &consent.verifier {
            let (challenge, method) = challenge(code.pkce, verifier);
            query
                .append_pair("code_challenge", &challenge)
                .append_pair("code_challenge_method", method);
        }
        drop(query);
        url
    }

    /// The code, if it was meant for us.
    async fn code_of(&self, returned: Returned) -> Result<Secret, String> {
        self.check_issuer(returned.iss.as_deref()).await?;
        if let Some(error) = returned.error {
            let more = returned
                .error_description
                .map_or_else(String::new, |text| format!(": {}", printable(&text)));
            return Err(format!(
                "the provider refused ({}{more}); begin again once that is settled",
                printable(&error)
            ));
        }
        returned
            .code
            .ok_or_else(|| "the provider sent neither a code nor an error; begin again".to_owned())
    }

    /// RFC 9207 section 2.4: an answer of another authorization server is none for us.
    async fn check_issuer(&self, iss: Option<&str>) -> Result<(), String> {
        let Some(code) = self.authorization_code() else {
            return Ok(());
        };
        let metadata = self.metadata().await.map_err(|fault| fault.to_string())?;
        let right = match (metadata, iss) {
            (Some(metadata), Some(iss)) => *metadata.issuer == *iss,
            (Some(metadata), None) => !metadata.iss_promised,
            (None, Some(iss)) => {
                let url = self.authorization_url(code).await;
                let url = url.map_err(|fault| fault.to_string())?;
                Url::parse(iss).is_ok_and(|iss| iss.origin() == url.origin())
            }
            (None, None) => true,
        };
        if right {
            return Ok(());
        }
        Err("the answer came from another authorization server (RFC 9207); begin again, and check `authorization_server`".to_owned())
    }

    /// Exchanges the code for tokens and stores them.
    async fn redeem(&self, consent: &Consent, code: &Secret) -> Changed<Fixed> {
        let (Some(kept), Some(redirect)) = (&self.kept, &self.redirect) else {
            return Changed::Nothing;
        };
        let now = SystemTime::now();
        let ask = Ask::Code {
            code,
            redirect_uri: redirect.as_str(),
            verifier: consent.verifier.as_ref(),
        };
        let linked = async {
            let _awaited = kept.begin()?;
            let answer = self.exchange(ask, now).await;
            let answer = answer.map_err(ExchangeFault::into_fault)?;
            self.keep(kept, answer, now).await
        };
        self.conclude(consent, linked.await)
    }

    async fn keep(
        &self,
        kept: &Kept,
        answer: TokenAnswer,
        now: SystemTime,
    ) -> Result<Lease<Fixed>, Fault> {
        let mut grant = kept.grant.lock().await;
        let record = Record::new(answer, None, now, self.settings.default_lifetime);
        let lease = self.lease(&record)?;
        kept.write(&record).await?;
        grant.unsaved = None;
        Ok(lease)
    }

    fn conclude(&self, consent: &Consent, linked: Result<Lease<Fixed>, Fault>) -> Changed<Fixed> {
        match linked {
            Ok(lease) => {
                consent.end(Outcome::Linked);
                Changed::Value(lease)
            }
            Err(fault) => {
                consent.end(Outcome::Failed(fault.detail));
                Changed::Nothing
            }
        }
    }

    async fn device(
        &self,
        url: &Url,
        now: SystemTime,
    ) -> Result<DeviceAuthorization, ExchangeFault> {
        let mut settings = self.settings.clone();
        self.answers.fill(settings.secrets_mut(), now).await?;
        let endpoint = self.road.endpoint(Role::DeviceAuthorization, url)?;
        let signer = signer(&settings)?;
        let request = device::DeviceRequest {
            client_id: &settings.client.id,
            proof: proof(&settings, signer.as_ref(), url.as_str()),
            scopes: &settings.scopes,
            audience: settings.audience.as_deref(),
            resource: &settings.resource,
            params: &settings.params,
        };
        Ok(device::authorize(&endpoint, &request, now).await?)
    }
}

/// Asks for the token until the person has decided (RFC 8628 section 3.4).
async fn poll_device(
    credential: Arc<Credential>,
    oauth2: Arc<OAuth2Renewal>,
    consent: Arc<Consent>,
    device: DeviceAuthorization,
) {
    let until = Instant::now() + device.lifetime;
    let mut interval = device.interval;
    let failed = loop {
        sleep(interval).await;
        if credential.value.is_retired() {
            break "the connection was changed or removed meanwhile; begin again".to_owned();
        }
        if Instant::now() >= until {
            break "nobody entered the code in time; begin again".to_owned();
        }
        let awaited = match oauth2.kept.as_ref().map(Kept::begin) {
            Some(Ok(awaited)) => awaited,
            Some(Err(fault)) => break fault.detail,
            None => return,
        };
        let now = SystemTime::now();
        match oauth2.exchange(Ask::Device(&device.device_code), now).await {
            Ok(answer) => {
                let consent = Arc::clone(&consent);
                credential.value.change(Box::pin(async move {
                    let _awaited = awaited;
                    let Some(kept) = &oauth2.kept else {
                        return Changed::Nothing;
                    };
                    let linked = oauth2.keep(kept, answer, now).await;
                    oauth2.conclude(&consent, linked)
                }));
                return;
            }
            Err(ExchangeFault::Token(fault)) if fault.is_pending() => {}
            // RFC 8628 section 3.5: five seconds more, for good.
            Err(ExchangeFault::Token(fault)) if fault.is_slow_down() => {
                interval += Duration::from_secs(5);
            }
            // A connection that times out is asked less often, and not given up.
            Err(ExchangeFault::Token(fault)) if fault.is_transient() => interval *= 2,
            Err(fault) => break fault.into_fault().detail,
        }
    };
    consent.end(Outcome::Failed(failed));
}

/// RFC 7636 section 4.2.
fn challenge(pkce: Pkce, verifier: &Secret) -> (String, &'static str) {
    match pkce {
        Pkce::Plain => (verifier.expose().to_owned(), "plain"),
        Pkce::Off | Pkce::S256 => {
            let hash = digest(&SHA256, verifier.expose().as_bytes());
            (BASE64_URL_SAFE_NO_PAD.encode(hash), "S256")
        }
    }
}

/// A text from outside, fit for a page, a log line and a terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn told(fault: TokenFault) -> NotLinkable {
    NotLinkable::Fault(fault.to_string())
}

/// A code from a query.
pub fn code(text: &str) -> Secret {
    Secret::new(text, Origin::Issued)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_rfc_7636() {
        let verifier = code("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        let (challenge, method) = challenge(Pkce::S256, &verifier);
        assert_eq!(challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert_eq!(method, "S256");
    }
}

//! A session of a role: [`assume`], one `AssumeRole` of STS.

use std::time::{Duration, SystemTime};

use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::timeout::TimeoutConfig;
use aws_sdk_sts::config::{BehaviorVersion, Credentials, IdentityCache, Region};
use aws_sdk_sts::error::SdkError;
use aws_sdk_sts::operation::assume_role::{AssumeRoleError, AssumeRoleOutput};
use aws_sdk_sts::{Client, Config};
use aws_smithy_async::rt::sleep::TokioSleep;

use super::fault::Asked;
use super::http::RoadClient;
use super::keys::Keys;
use super::offset::{Offset, OffsetTime};
use super::refusal::Refusal;
use crate::auth::fetch::EXCHANGE;
use crate::auth::state::Fault;
use crate::connection::aws::Role;
use crate::secret::{Origin, Secret};

/// AWS takes signatures that are five minutes old; a clock that is less off is not why it refuses.
const SKEWED: Duration = Duration::from_secs(4 * 60);

/// Keys and when they end, if they do.
pub(super) type Found = (Keys, Option<SystemTime>);

/// How STS is asked.
pub(super) struct Sts<'a> {
    pub(super) client: &'a RoadClient,
    pub(super) time: &'a OffsetTime,
    /// Whose credential it is, for the log.
    pub(super) connection: &'a str,
}

impl Sts<'_> {
    /// Asks once for a session of a role; a second time if the clock was why it was refused.
    pub(super) async fn assume(
        &self,
        role: &Role,
        under: &str,
        external_id: Option<&str>,
        keys: &Keys,
    ) -> Result<Found, Fault> {
        let mut asked = Asked {
            role,
            under,
            external_id,
            keys,
            ahead: None,
        };
        let client = Client::from_conf(self.config(role, keys));
        let mut answer = self.ask(&client, role, external_id).await;
        let mut ahead = self.client.take_ahead();
        if let Err(error) = &answer
            && Refusal::of_sts(error).is_some_and(Refusal::may_be_clock)
            && self.corrected(ahead)
        {
            answer = self.ask(&client, role, external_id).await;
            ahead = self.client.take_ahead();
        }
        match answer {
            Ok(answer) => session(&asked, answer, ahead),
            Err(error) => {
                asked.ahead = ahead;
                Err(asked.fault(&error))
            }
        }
    }

    async fn ask(
        &self,
        client: &Client,
        role: &Role,
        external_id: Option<&str>,
    ) -> Result<AssumeRoleOutput, SdkError<AssumeRoleError>> {
        client
            .assume_role()
            .role_arn(&*role.arn)
            .role_session_name(&*role.session_name)
            .set_external_id(external_id.map(str::to_owned))
            .set_duration_seconds(i32::try_from(role.duration.as_secs()).ok())
            .send()
            .await
    }

    /// Corrects the time by which requests are signed, if it is far off.
    fn corrected(&self, ahead: Option<Offset>) -> bool {
        let Some(ahead) = ahead.filter(|ahead| ahead.change(self.time.offset()) > SKEWED) else {
            return false;
        };
        tracing::warn!(
            connection = self.connection,
            clock = %ahead,
            "Clock is off: requests to STS are signed with its time; set this machine's clock"
        );
        self.time.correct(ahead);
        true
    }

    /// Whoever keeps the session backs off and renews by itself: here nothing is tried again, cached
    /// or corrected behind its back.
    fn config(&self, role: &Role, keys: &Keys) -> Config {
        let credentials = Credentials::new(
            keys.id.expose(),
            keys.secret.expose(),
            keys.session_token
                .as_ref()
                .map(|token| token.expose().to_owned()),
            None,
            "keybearer",
        );
        let mut config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(role.sts_region.to_string()))
            .credentials_provider(credentials)
            .http_client(self.client.clone())
            .sleep_impl(TokioSleep::new())
            .time_source(self.time.clone())
            .identity_cache(IdentityCache::no_cache())
            .retry_config(RetryConfig::disabled())
            .disable_clock_skew_correction(true)
            .timeout_config(TimeoutConfig::builder().operation_timeout(EXCHANGE).build());
        if let Some(url) = &role.sts_endpoint {
            config = config.endpoint_url(url.as_str().trim_end_matches('/'));
        }
        config.build()
    }
}

/// The session of an answer, with its end by this machine's clock.
fn session(
    asked: &Asked<'_>,
    answer: AssumeRoleOutput,
    ahead: Option<Offset>,
) -> Result<Found, Fault> {
    let Some(credentials) = answer.credentials else {
        return Err(asked.nothing("no credentials"));
    };
    let end = SystemTime::try_from(credentials.expiration)
        .map_err(|_| asked.nothing("an expiration that is no time"))?;
    let secret = |text: String| Secret::new(text, Origin::Issued);
    let keys = Keys {
        id: secret(credentials.access_key_id),
        secret: secret(credentials.secret_access_key),
        session_token: Some(secret(credentials.session_token)),
    };
    // STS's time of the answer and of the end are of one clock, so ours may be off.
    let end = ahead.map_or(end, |ahead| ahead.ours(end));
    Ok((keys, Some(end)))
}

#[cfg(test)]
mod tests;

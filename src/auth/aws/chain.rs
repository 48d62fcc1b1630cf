//! The SDKs' default chain: [`find`] looks for keys where any AWS tool would.

use std::error::Error;
use std::time::Duration;

use aws_config::Region;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::imds::client::error::ImdsError;
use aws_config::meta::ProviderChainError;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_async::rt::sleep::TokioSleep;

use super::assume::Found;
use super::http::RoadClient;
use super::keys::Keys;
use super::offset::OffsetTime;
use super::refusal::{Refusal, causes, fetch_fault, shown};
use super::watched::{self, Unfinished};
use crate::auth::fetch::{EXCHANGE, FetchFault};
use crate::auth::state::{Fault, Lapse};
use crate::secret::{Origin, Secret};

/// What is told where the chain has nothing.
const NOTHING: &str = "no AWS credentials were found: not in the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`), in the profile of `AWS_PROFILE` (~/.aws/config, ~/.aws/credentials), by `AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_CONTAINER_CREDENTIALS_FULL_URI` or the instance's metadata service; provide one of them to keybearer's process, or write the keys into `auth`";

/// Looks for keys: environment, shared profile, web identity, container, instance, in that order.
///
/// The chain is made anew each time, so that a file or variable is read as it is now. `region` is
/// where STS is asked for a web identity's session, unless the environment or the profile says it.
pub(super) async fn find(
    client: &RoadClient,
    time: &OffsetTime,
    region: &str,
) -> Result<Found, Fault> {
    find_within(client, time, region, EXCHANGE).await
}

async fn find_within(
    client: &RoadClient,
    time: &OffsetTime,
    region: &str,
    limit: Duration,
) -> Result<Found, Fault> {
    let (client, time, region) = (client.clone(), time.clone(), region.to_owned());
    let looking = async move {
        let chain = chain(&client, &time, &region).await;
        chain.provide_credentials().await
    };
    // The SDK would leave a `credential_process` that hangs to itself.
    let found = watched::run(looking, limit).await.map_err(|unfinished| {
        let detail = match unfinished {
            Unfinished::Late => format!(
                "the default chain of AWS credentials found none within {limit:?}; check what it asks: a `credential_process`, which must ask for nothing and was ended, a container's or the instance's metadata service"
            ),
            Unfinished::NotBegun(error) => format!(
                "the default chain of AWS credentials was not asked, as no thread can be started: {error}"
            ),
        };
        Fault::new(Lapse::Passing, detail)
    })?;
    let found = found.map_err(|error| fault(&error))?;
    let secret = |text: &str| Secret::new(text, Origin::Issued);
    let keys = Keys {
        id: secret(found.access_key_id()),
        secret: secret(found.secret_access_key()),
        session_token: found.session_token().map(secret),
    };
    Ok((keys, found.expiry()))
}

async fn chain(client: &RoadClient, time: &OffsetTime, region: &str) -> DefaultCredentialsChain {
    let config = ProviderConfig::default()
        .with_http_client(client.clone())
        .with_sleep_impl(TokioSleep::new())
        .with_time_source(time.clone())
        .with_retry_config(RetryConfig::disabled());
    // Without a region of our own the chain asks the instance's metadata service for one.
    let profile = ProfileFileRegionProvider::builder()
        .configure(&config)
        .build();
    let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(profile)
        .or_else(Region::new(region.to_owned()));
    let chain = DefaultCredentialsChain::builder()
        .configure(config)
        .region(region);
    chain.build().await
}

/// Why the chain has no keys.
fn fault(error: &CredentialsError) -> Fault {
    if let CredentialsError::CredentialsNotLoaded(_) = error {
        let also = missing(error).map_or_else(String::new, |text| format!(" ({text})"));
        return Fault::new(Lapse::Misconfigured, format!("{NOTHING}{also}"));
    }
    let lapse = match error {
        CredentialsError::InvalidConfiguration(_) => Lapse::Misconfigured,
        _ => match Refusal::of(error) {
            Some(refusal) if !refusal.is_passing() => Lapse::Misconfigured,
            _ => Lapse::Passing,
        },
    };
    let detail = format!(
        "the default chain of AWS credentials failed: {}",
        in_words(error)
    );
    Fault {
        // It may quote what a `credential_process` has printed, which is for the operator alone.
        for_callers: Some(FOR_CALLERS.to_owned()),
        ..Fault::new(lapse, detail)
    }
}

/// What callers are told of all that.
const FOR_CALLERS: &str =
    "the default chain of AWS credentials failed; why stands in the log and in `keybearer status`";

/// What is behind an error, without what the SDKs print of answers: those may hold keys.
fn in_words(error: &CredentialsError) -> String {
    if let Some(refusal) = Refusal::of(error) {
        let said = shown(refusal.message, None);
        return format!(
            "STS refused ({}): {said}; check the role that the chain assumes, and who may assume it",
            refusal.code
        );
    }
    if let Some(FetchFault::Unreachable(why) | FetchFault::Unusable(why)) = fetch_fault(error) {
        return why.clone();
    }
    if let Some(status) = metadata_status(error) {
        return format!(
            "the instance's metadata service answered {status}; check that a role is attached to the instance"
        );
    }
    let Some(last) = causes(error).last() else {
        return error.to_string();
    };
    let text = shown(&last.to_string(), None);
    if text.contains("cargo feature") {
        return "the profile uses SSO or `aws login`, which keybearer does not speak; export its keys with `credential_process = aws configure export-credentials --profile NAME` in another profile".to_owned();
    }
    text
}

/// The status of an answer of the instance's metadata service.
fn metadata_status(error: &(dyn Error + 'static)) -> Option<u16> {
    causes(error).find_map(|cause| match cause.downcast_ref()? {
        ImdsError::ErrorResponse(context) => Some(context.response().status().as_u16()),
        _ => None,
    })
}

/// What a profile lacks that was asked for.
fn missing(error: &CredentialsError) -> Option<String> {
    let tried: &ProviderChainError<CredentialsError> =
        causes(error).find_map(|cause| cause.downcast_ref())?;
    let profile = tried
        .attempts()
        .iter()
        .find(|attempt| attempt.name() == "Profile")?;
    let why = profile.error().source()?;
    Some(shown(&why.to_string(), None))
}

#[cfg(test)]
mod tests;

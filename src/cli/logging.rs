//! Log lines on stderr, as text or JSON, with a level that a reload can change.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use super::Global;
use crate::config::{Log, LogFormat};

/// Changes the level of what is logged.
pub(super) type SetLevel = Box<dyn Fn(LevelFilter) + Send + Sync>;

/// Starts logging; gives what changes the level.
///
/// # Errors
/// Logging was started before.
pub(super) fn start(log: &Log, global: &Global) -> anyhow::Result<SetLevel> {
    let fixed = global.log_level;
    let (filter, handle) = reload::Layer::new(targets(fixed.unwrap_or(log.level)));
    let lines: Box<dyn Layer<Registry> + Send + Sync> =
        match global.log_format.unwrap_or(log.format) {
            LogFormat::Json => fmt::layer()
                .json()
                .flatten_event(true)
                .with_target(false)
                .with_writer(io::stderr)
                .boxed(),
            LogFormat::Text => fmt::layer()
                .with_ansi(colours())
                .with_target(false)
                .with_writer(io::stderr)
                .boxed(),
        };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init()?;
    Ok(Box::new(move |level| {
        // It fails only when the subscriber is gone, and with it all lines.
        let _ = handle.reload(targets(fixed.unwrap_or(level)));
    }))
}

/// The level for our own lines. Libraries stay at what concerns a person: below that they print
/// heads and bytes, and so credentials.
fn targets(level: LevelFilter) -> Targets {
    Targets::new()
        .with_default(level.min(LevelFilter::INFO))
        .with_target("keybearer", level)
        .with_target("pingora_core", level.min(LevelFilter::WARN))
        // The AWS SDKs: they print command lines at that level, and what concerns a person is told.
        .with_target("aws_", LevelFilter::OFF)
}

fn colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::auth::aws::testing::{ROLE, connected, refusal, role, session};
    use crate::auth::credentials::Credentials;
    use crate::connection::aws::{Role, Source};
    use crate::metrics::Metrics;
    use crate::upstream::Upstreams;

    const STS: &str = "KEYBEARER_TEST_STS";

    /// Everything that is printed of an AWS credential, while its session is had and then refused.
    #[tokio::test]
    #[ignore = "run by no_line_shows_a_key_of_aws"]
    async fn prints_all_there_is() {
        let Ok(sts) = std::env::var(STS) else {
            return;
        };
        let lines = fmt::layer().with_writer(io::stdout);
        tracing_subscriber::registry()
            .with(lines.with_filter(targets(LevelFilter::TRACE)))
            .init();
        let credentials = Credentials::new(
            tokio::runtime::Handle::current(),
            Arc::new(Upstreams::default()),
            Metrics::new().unwrap(),
            crate::config::Store::Memory,
            crate::auth::courier::Courier::default(),
        );
        let role = Role {
            source: Source::Default,
            ..role(&sts.parse().unwrap())
        };
        let connection = connected("api", Source::Role(Box::new(role)));
        let authenticator = credentials.build(&connection, None).unwrap();
        let credential = authenticator.credential().unwrap();
        credential.begin();
        let prepared = authenticator.wait().await.unwrap();
        authenticator.replace(&prepared).await;
        let status = credential.value.status();
        println!("{connection:?} {authenticator:?} {prepared:?} {credential:?} {status:?}");
        println!("{}", status.problem().unwrap().detail);
    }

    /// The SDKs print the command lines of profiles, and answers.
    #[tokio::test(flavor = "multi_thread")]
    async fn no_line_shows_a_key_of_aws() {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let server = crate::auth::testing::Server::start(move |_| {
            match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                0 => session(
                    "AssumeRole",
                    "ASIA1",
                    SystemTime::now() + std::time::Duration::from_secs(3600),
                ),
                _ => refusal(
                    403,
                    "SignatureDoesNotMatch",
                    "x-amz-security-token:canary-source-token",
                ),
            }
        })
        .await;
        let home = tempfile::TempDir::new().unwrap();
        let keys = r#"{"Version": 1, "AccessKeyId": "AKIDCANARY", "SecretAccessKey": "canary-source-secret", "SessionToken": "canary-source-token"}"#;
        std::fs::write(home.path().join("keys"), keys).unwrap();
        let profile = "[default]\ncredential_process = cat ~/keys; true canary-argument\n";
        std::fs::write(home.path().join("config"), profile).unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "cli::logging::tests::prints_all_there_is"])
            .args(["--ignored", "--nocapture", "--test-threads=1"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", home.path())
            .env("AWS_CONFIG_FILE", home.path().join("config"))
            .env(STS, server.url("/").as_str())
            .output()
            .unwrap();
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        for said in [
            "Credential renewed",
            "Credential not renewed",
            ROLE,
            "SignatureDoesNotMatch",
        ] {
            assert!(told.contains(said), "{said}: {told}");
        }
        assert!(!told.to_lowercase().contains("canary"), "{told}");
    }
}

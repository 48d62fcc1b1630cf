//! Questions to the running instance, over its console.

mod absent;
mod exchange;
mod instance;
mod unasked;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::time::timeout;

pub(super) use self::absent::unknown;
pub(super) use self::instance::Instance;
use self::unasked::At;
pub(super) use self::unasked::Unasked;
use super::Global;
use crate::config::source::{Process, locate};
use crate::config::{self, Admin};
use crate::problem::Kind;

/// For a question whose answer is at hand.
const PATIENCE: Duration = Duration::from_secs(10);

/// For a question that makes the instance ask others first.
const LONG_PATIENCE: Duration = Duration::from_secs(60);

/// How long answers are waited for.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(super) struct Patience {
    /// How long to wait for the running instance to answer [default: 10s, or 60s where it has to ask
    /// others first]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

impl Patience {
    pub(super) fn of(timeout: Option<Duration>) -> Self {
        Self { timeout }
    }
}

/// The console of the instance that runs with a configuration.
pub(super) struct Remote {
    at: At,
    admin: Admin,
    /// The connections of the configuration, which need not be those of the instance.
    connections: Vec<String>,
    patience: Patience,
    found: OnceCell<()>,
}

/// An answer that is not the one that was hoped for, in the instance's own words.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub(super) struct Refused {
    detail: String,
    /// That there is nothing at this path.
    is_absent: bool,
}

impl Remote {
    /// The instance's console, by the configuration that this command finds.
    ///
    /// # Errors
    /// There is no such configuration, or it has no console.
    pub(super) fn find(global: &Global, patience: &Patience) -> Result<Self> {
        // Only the console is asked for: whoever asks need not have the secrets of the instance.
        let location = locate(global.config.as_deref(), &Process)?;
        let told = config::console(&location, &Process);
        let Some(admin) = told.admin else {
            return Err(match told.doubts.is_empty() {
                true => Unasked::Off(location),
                false => Unasked::Unknown(told.doubts),
            }
            .into());
        };
        Ok(Self {
            at: At {
                listen: admin.listen.clone(),
                location,
                is_named: global.config.is_some(),
                doubts: told.doubts,
            },
            admin,
            connections: told.connections,
            patience: *patience,
            found: OnceCell::new(),
        })
    }

    /// Makes sure that a console of keybearer's is there, before anything else may have the token.
    ///
    /// # Errors
    /// [`Unasked`].
    pub(super) async fn reach(&self) -> Result<()> {
        let reached = self.found.get_or_try_init(|| async {
            let (status, content) = self.send(Method::GET, "/healthz", None, None).await?;
            match (status, &*content) {
                (StatusCode::OK, b"ok\n") => Ok(()),
                _ => Err(self.foreign(status, &content)),
            }
        });
        reached.await.copied().map_err(anyhow::Error::from)
    }

    /// Asks what the instance knows, and reads the JSON answer.
    ///
    /// # Errors
    /// [`Unasked`], or [`Refused`] by the instance.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        content: Option<&Value>,
    ) -> Result<Value> {
        self.reach().await?;
        let token = self.admin.token.as_ref();
        let (status, content) = self.send(method, path, content, token).await?;
        let json: Option<Value> = serde_json::from_slice(&content).ok();
        match (status, json) {
            (status, Some(json)) if status.is_success() => Ok(json),
            (StatusCode::UNAUTHORIZED, _) => Err(self.unauthorized().into()),
            (_, Some(json)) if is_problem(&json) => Err(Refused::of(&json, status).into()),
            (status, _) => Err(self.foreign(status, &content).into()),
        }
    }

    /// Asks something about a connection.
    ///
    /// # Errors
    /// As those of [`Self::ask`].
    pub(super) async fn ask_about(
        &self,
        name: &str,
        method: Method,
        rest: &str,
        content: Option<&Value>,
    ) -> Result<Value> {
        let path = format!("/api/connections/{}{rest}", encoded(name));
        let asked = self.ask(method, &path, content).await;
        match asked {
            Err(error) if Refused::is_absent(&error) => Err(self.absent(name, error).await),
            asked => asked,
        }
    }

    /// What the instance says of itself; none if it is of a version that says nothing.
    ///
    /// # Errors
    /// As those of [`Self::ask`].
    pub(super) async fn instance(&self) -> Result<Option<Instance>> {
        match self.ask(Method::GET, "/api/status", None).await {
            Ok(told) => Ok(Some(Instance(told))),
            Err(error) if Refused::is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where it is asked.
    pub(super) fn at(&self) -> &At {
        &self.at
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content: Option<&Value>,
        token: Option<&crate::secret::Secret>,
    ) -> Result<(StatusCode, Bytes), Unasked> {
        let usual = match method {
            Method::POST => LONG_PATIENCE,
            _ => PATIENCE,
        };
        let patience = self.patience.timeout.unwrap_or(usual);
        let content = content.map(Value::to_string).unwrap_or_default();
        let request = exchange::request(method, path, content, token);
        let answer = timeout(patience, exchange::exchange(&self.admin.listen, request)).await;
        match answer {
            Ok(answer) => answer.map_err(|failed| Unasked::of(self.at.clone(), failed)),
            Err(_) => Err(Unasked::Silent(self.at.clone(), patience)),
        }
    }

    fn unauthorized(&self) -> Unasked {
        match self.admin.token {
            Some(_) => Unasked::WrongToken(self.at.clone()),
            None => Unasked::NoToken(self.at.clone()),
        }
    }

    /// Who answers, if it is no console.
    fn foreign(&self, status: StatusCode, content: &[u8]) -> Unasked {
        let problem: Option<Value> = serde_json::from_slice(content).ok();
        match problem.filter(is_problem) {
            Some(problem) => Unasked::NoConsole(self.at.clone(), detail(&problem, status)),
            None => Unasked::Foreign(self.at.clone(), format!("with {status}")),
        }
    }
}

// === impl Refused ===

impl Refused {
    /// Said by this side, of what the instance does not have.
    pub(super) fn unknown(detail: String) -> Self {
        Self {
            detail,
            is_absent: true,
        }
    }

    fn of(problem: &Value, status: StatusCode) -> Self {
        Self {
            detail: detail(problem, status),
            is_absent: problem["type"] == Kind::NoRoute.uri(),
        }
    }

    /// Whether the instance has nothing at that path.
    pub(super) fn is_absent(error: &anyhow::Error) -> bool {
        error
            .downcast_ref()
            .is_some_and(|refused: &Self| refused.is_absent)
    }
}

/// Whether it is a problem of keybearer's own.
fn is_problem(json: &Value) -> bool {
    let kind = json["type"].as_str().unwrap_or_default();
    kind.starts_with("urn:keybearer:problem:")
}

fn detail(problem: &Value, status: StatusCode) -> String {
    let detail = problem["detail"].as_str();
    detail.map_or_else(|| status.to_string(), crate::config::diagnostic::printable)
}

/// A name as a segment of a path.
pub(super) fn encoded(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Waits for work that needs a runtime.
pub(super) fn wait_for<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// Runs a command that asks the running instance; what that refuses is no fault of the arguments.
pub(super) fn run<F>(work: F) -> Result<ExitCode>
where
    F: Future<Output = Result<ExitCode>>,
{
    match wait_for(work) {
        Err(error) if error.is::<Refused>() => {
            super::output::error(&error);
            Ok(ExitCode::FAILURE)
        }
        outcome => outcome,
    }
}

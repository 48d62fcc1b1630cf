//! What stands between a request and its credential: [`State`], [`Fault`], [`Unavailable`].

use std::time::Duration;

/// Where a credential stands, as the console, metrics and answers name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The configuration or the registration at the provider is wrong.
    Misconfigured,
    /// Nobody has consented yet.
    NotLinked,
    /// There is a value that may be used.
    Ready,
    /// The consent is no longer good: somebody has to give it again.
    Reauthorize,
    /// A first value is being fetched.
    Refreshing,
    /// There is no value; attempts go on.
    Retrying,
    /// Renewals fail, but the old value may still be used.
    Stale,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Ready,
        Self::Stale,
        Self::Refreshing,
        Self::Retrying,
        Self::NotLinked,
        Self::Reauthorize,
        Self::Misconfigured,
    ];

    /// The name that programs read.
    pub fn name(self) -> &'static str {
        match self {
            Self::Misconfigured => "misconfigured",
            Self::NotLinked => "not_linked",
            Self::Ready => "ready",
            Self::Reauthorize => "reauthorize",
            Self::Refreshing => "refreshing",
            Self::Retrying => "retrying",
            Self::Stale => "stale",
        }
    }
}

/// Why an attempt brought no value.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What it takes to get one.
    pub lapse: Lapse,
    /// What went wrong and what to do; holds no secret.
    pub detail: String,
    /// How long the other side asked us to wait.
    pub retry_after: Option<Duration>,
    /// What callers are told in place of `detail`, where that is for the operator alone.
    pub for_callers: Option<String>,
}

/// What it takes to get a value after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// A change of the configuration, or of the registration at the provider.
    Misconfigured,
    /// A first consent.
    NotLinked,
    /// Time alone.
    Passing,
    /// A new consent.
    Reauthorize,
}

impl Lapse {
    /// The state of a credential without a value.
    pub fn state(self) -> State {
        match self {
            Self::Misconfigured => State::Misconfigured,
            Self::NotLinked => State::NotLinked,
            Self::Passing => State::Retrying,
            Self::Reauthorize => State::Reauthorize,
        }
    }

    /// Whether no attempt can help before somebody has consented.
    pub fn needs_person(self) -> bool {
        matches!(self, Self::NotLinked | Self::Reauthorize)
    }
}

impl Fault {
    /// A fault of a kind, told in a sentence that says what to do.
    pub fn new(lapse: Lapse, detail: impl Into<String>) -> Self {
        Self {
            lapse,
            detail: detail.into(),
            retry_after: None,
            for_callers: None,
        }
    }
}

/// There is no credential for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// Where it stands.
    pub state: State,
    /// Why, and what to do; holds no secret.
    pub detail: String,
    /// When to ask again, where that is known.
    pub retry_after: Option<Duration>,
}

impl Unavailable {
    /// There is none because of `fault`.
    pub(super) fn new(fault: &Fault, retry_after: Option<Duration>) -> Self {
        Self {
            state: fault.lapse.state(),
            detail: fault.for_callers.as_ref().unwrap_or(&fault.detail).clone(),
            retry_after,
        }
    }

    /// There is none yet.
    pub(super) fn late() -> Self {
        Self {
            state: State::Refreshing,
            detail: "the credential is still being fetched; what comes of it will stand in the log and in `keybearer status`"
                .to_owned(),
            retry_after: Some(Duration::from_secs(5)),
        }
    }
}

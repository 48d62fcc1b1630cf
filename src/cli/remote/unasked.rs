//! Why nobody could be asked, and what to do about it: [`Unasked`].

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::exchange::Failed;
use crate::config::Listen;
use crate::config::diagnostic::Diagnostic;
use crate::config::source::Location;

/// Nobody could be asked.
#[derive(Debug)]
pub(in crate::cli) enum Unasked {
    /// Something answers that is no keybearer, in this way.
    Foreign(At, String),
    /// The connection ended before the answer did, for this reason.
    Ended(At, String),
    /// keybearer answers, but not its console; and what it says.
    NoConsole(At, String),
    /// A token is asked for, and there is none.
    NoToken(At),
    /// `admin.listen` is `"off"`.
    Off(Location),
    /// No answer came in time.
    Silent(At, Duration),
    /// What is configured cannot be read.
    Unknown(Vec<Diagnostic>),
    /// There is nothing to connect to.
    Unreachable(At, io::Error),
    /// The token is another one.
    WrongToken(At),
}

/// Where an instance is asked, and what says so.
#[derive(Clone, Debug)]
pub(in crate::cli) struct At {
    pub(super) listen: Listen,
    pub(super) location: Location,
    /// Whether `--config` named the configuration.
    pub(super) is_named: bool,
    /// What is wrong with the configuration, as far as it concerns this.
    pub(super) doubts: Vec<Diagnostic>,
}

// === impl Unasked ===

impl Unasked {
    pub(super) fn of(at: At, failed: Failed) -> Self {
        match failed {
            Failed::Connect(error) => Self::Unreachable(at, error),
            Failed::Garbled => Self::Foreign(at, "with what is no HTTP".to_owned()),
            Failed::Ended(why) => Self::Ended(at, why),
        }
    }

    /// Whether an error says that an instance is there, and refuses to be asked.
    pub(in crate::cli) fn is_refusal(error: &anyhow::Error) -> bool {
        let unasked = error.downcast_ref();
        unasked.is_some_and(|unasked| matches!(unasked, Self::NoToken(_) | Self::WrongToken(_)))
    }

    fn doubts(&self) -> &[Diagnostic] {
        match self {
            Self::Off(_) => &[],
            Self::Unknown(doubts) => doubts,
            Self::Foreign(at, _)
            | Self::Ended(at, _)
            | Self::NoConsole(at, _)
            | Self::NoToken(at)
            | Self::Silent(at, _)
            | Self::Unreachable(at, _)
            | Self::WrongToken(at) => &at.doubts,
        }
    }

    fn tell(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(at, why) => write!(
                f,
                "the instance at {at} ended the connection instead of answering ({why}); it may just be ending: try again"
            ),
            Self::Foreign(at, how) => write!(
                f,
                "what answers at {at} is no keybearer: it answers {how}; set admin.listen to a free port and start keybearer, or name the configuration that it runs with by --config"
            ),
            Self::NoConsole(at, detail) => write!(
                f,
                "{at} is answered by keybearer, but not by its console: {detail}; name the configuration that it runs with by --config"
            ),
            Self::NoToken(at) => write!(
                f,
                "the instance at {} asks for a token, and {} has no admin.token that could be read; name the configuration that it runs with by --config",
                at.listen, at.location
            ),
            Self::Off(location) => write!(
                f,
                "admin.listen is \"off\" in {location}: the running instance cannot be asked; set it to an address such as \"127.0.0.1:9080\", and start keybearer again"
            ),
            Self::Silent(at, patience) => write!(
                f,
                "the instance at {at} has not answered for {}; look at its log, or wait longer with --timeout",
                humantime::format_duration(*patience)
            ),
            Self::Unknown(_) => f.write_str("it cannot be told where the running instance is"),
            Self::Unreachable(at, error) => at.unreachable(error, f),
            Self::WrongToken(at) => write!(
                f,
                "the instance at {} does not take the admin.token of {}; name the configuration that it runs with by --config, or give the token that it was started with",
                at.listen, at.location
            ),
        }
    }
}

impl fmt::Display for Unasked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tell(f)?;
        let doubts = self.doubts();
        if !doubts.is_empty() {
            f.write_str(
                "\nThe configuration that says where and how to ask has mistakes; mend them first:",
            )?;
        }
        doubts.iter().try_for_each(|doubt| write!(f, "\n{doubt}"))
    }
}

impl std::error::Error for Unasked {}

// === impl At ===

impl At {
    /// The way to start what is not there.
    fn start(&self) -> String {
        match &self.location {
            Location::File(path) | Location::Folder(path) if self.is_named => {
                format!("keybearer run --config {}", path.display())
            }
            _ => "keybearer run".to_owned(),
        }
    }

    fn unreachable(&self, error: &io::Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let otherwise = "or name the configuration that it runs with by --config";
        match (&self.listen, error.kind()) {
            (Listen::Tcp { .. }, io::ErrorKind::ConnectionRefused) => write!(
                f,
                "nobody listens at {self}; start keybearer (`{}`), {otherwise}",
                self.start()
            ),
            (Listen::Unix(_), io::ErrorKind::ConnectionRefused) => write!(
                f,
                "nobody listens at {self} any more; start keybearer (`{}`), {otherwise}",
                self.start()
            ),
            (Listen::Unix(_), io::ErrorKind::NotFound) => write!(
                f,
                "there is no socket at {self}; start keybearer (`{}`), {otherwise}",
                self.start()
            ),
            (Listen::Unix(path), io::ErrorKind::PermissionDenied) => write!(
                f,
                "this user may not use the socket at {self}; run this command as the user that keybearer runs as{}",
                owner(path)
            ),
            _ => write!(
                f,
                "{self} cannot be reached: {error}; check admin.listen, and that keybearer runs"
            ),
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (admin.listen of {})", self.listen, self.location)
    }
}

/// Whose a socket is, as `sudo` takes it.
fn owner(path: &Path) -> String {
    let metadata = std::fs::symlink_metadata(path);
    metadata.map_or_else(
        |_| String::new(),
        |metadata| format!(" (`sudo -u '#{}' …`)", metadata.uid()),
    )
}

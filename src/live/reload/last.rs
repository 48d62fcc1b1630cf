//! What came of the last load, for whoever asks later: [`LastLoad`].

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Serialize, Serializer};

use crate::config::diagnostic::Diagnostics;
use crate::live::BuildError;

/// The last time that the configuration was read to be put in force: at the start, or by a reload.
#[derive(Clone, Debug)]
pub struct LastLoad {
    /// When that was.
    pub at: SystemTime,
    /// Why what was read is not in force; none if it is.
    pub rejected: Option<Arc<Rejected>>,
}

/// Why a configuration was not published. As JSON, a list of objects, each with at least a `message`.
#[derive(Debug)]
pub enum Rejected {
    /// A connection cannot be built.
    Build(BuildError),
    /// The files are wrong.
    Config(Diagnostics),
}

// === impl LastLoad ===

impl LastLoad {
    pub(super) fn now(rejected: Option<Arc<Rejected>>) -> Self {
        Self {
            at: SystemTime::now(),
            rejected,
        }
    }

    /// `success` or `failure`, as metrics name it, too.
    pub fn result(&self) -> &'static str {
        match self.rejected {
            None => "success",
            Some(_) => "failure",
        }
    }
}

// === impl Rejected ===

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(error) => error.fmt(f),
            Self::Config(diagnostics) => diagnostics.fmt(f),
        }
    }
}

impl Serialize for Rejected {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Told {
            message: String,
        }
        match self {
            Self::Build(error) => [Told {
                message: error.to_string(),
            }]
            .serialize(serializer),
            Self::Config(diagnostics) => diagnostics.serialize(serializer),
        }
    }
}

//! What goes wrong while a configuration is read, before it is told: [`Faults`] collects, so that
//! no step has to stop at the first.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Diagnostics};
use super::document::{Document, Place};

/// Collects all faults of one load.
#[derive(Default)]
pub(crate) struct Faults(RefCell<Vec<Fault>>);

/// Something that is wrong, at a place or with a whole file.
#[derive(Debug)]
pub(crate) struct Fault {
    at: At,
    message: String,
    key: Option<String>,
    hint: Option<String>,
    is_syntax: bool,
}

#[derive(Debug)]
enum At {
    File(PathBuf),
    Place(Place),
}

// === impl Faults ===

impl Faults {
    pub(crate) fn add(&self, fault: Fault) {
        self.0.borrow_mut().push(fault);
    }

    /// Everything that was collected, with its lines; none if nothing was.
    pub(crate) fn tell(self, documents: &[Document]) -> Option<Diagnostics> {
        let told = self
            .0
            .into_inner()
            .into_iter()
            .filter(|fault| !fault.may_be_a_consequence(documents))
            .map(|fault| fault.tell(documents));
        Diagnostics::new(told.collect())
    }
}

// === impl Fault ===

impl Fault {
    pub(crate) fn at(place: Place, message: impl Into<String>) -> Self {
        Self::new(At::Place(place), message.into())
    }

    pub(crate) fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self::new(At::File(file.to_owned()), message.into())
    }

    fn new(at: At, message: String) -> Self {
        Self {
            at,
            message,
            key: None,
            hint: None,
            is_syntax: false,
        }
    }

    #[must_use]
    pub(crate) fn key(mut self, key: String) -> Self {
        self.key = Some(key);
        self
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Marks that the text is no TOML here.
    #[must_use]
    pub(crate) fn syntax(mut self) -> Self {
        self.is_syntax = true;
        self
    }

    /// Whether it is about a text that is no TOML. Then nothing tells what the text means, a string
    /// without its end may hold the secrets of the next lines, and only the syntax is talked of.
    fn may_be_a_consequence(&self, documents: &[Document]) -> bool {
        match self.at {
            At::File(_) => false,
            At::Place(place) => documents[place.document].is_broken() && !self.is_syntax,
        }
    }

    fn tell(self, documents: &[Document]) -> Diagnostic {
        let told = match self.at {
            At::File(file) => Diagnostic::of_file(file, &self.message),
            At::Place(place) => {
                let document = &documents[place.document];
                Diagnostic::of_file(document.path(), &self.message)
                    .at(document.position(place.offset))
            }
        };
        told.with(self.key, self.hint.as_deref())
    }
}

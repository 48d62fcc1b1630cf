//! What is told of a draft that cannot be taken as it is.

use serde::Serialize;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Told {
    /// The path of the field; none where it is about the rest of the configuration.
    pub(super) field: Option<String>,
    pub(super) message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
}

/// Something that the running instance does not have yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Missing {
    /// The path of the field that takes it from there.
    pub(super) field: String,
    /// The environment variable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) env: Option<String>,
    /// The file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<String>,
    pub(super) message: String,
    /// What to do about it.
    pub(super) hint: String,
}

impl Told {
    pub(super) fn at(field: &str, message: impl Into<String>) -> Self {
        Self {
            field: Some(field.to_owned()),
            message: message.into(),
            hint: None,
        }
    }

    /// About the rest of the configuration.
    pub(super) fn elsewhere(message: impl Into<String>) -> Self {
        Self {
            field: None,
            message: message.into(),
            hint: None,
        }
    }

    #[must_use]
    pub(super) fn hint(mut self, hint: Option<&str>) -> Self {
        self.hint = hint.map(str::to_owned);
        self
    }
}

impl Missing {
    pub(super) fn variable(field: String, name: &str, how: &str) -> Self {
        Self {
            field,
            env: Some(name.to_owned()),
            file: None,
            message: format!("environment variable `{name}` {how} where keybearer runs"),
            hint: "set it for keybearer and start that again: nothing changes the environment of a process that runs".to_owned(),
        }
    }

    pub(super) fn file(field: String, path: &str) -> Self {
        Self {
            field,
            env: None,
            file: Some(path.to_owned()),
            message: format!("`{path}` does not exist"),
            hint: "make it, readable for the user that runs keybearer and writable by nobody else"
                .to_owned(),
        }
    }
}

impl From<Missing> for Told {
    fn from(missing: Missing) -> Self {
        Self {
            field: Some(missing.field),
            message: missing.message,
            hint: Some(missing.hint),
        }
    }
}

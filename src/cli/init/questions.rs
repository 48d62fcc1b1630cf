//! What is asked at a terminal, each answer checked by the loader itself.

use std::path::Path;

use anyhow::{Result, anyhow};
use dialoguer::console::Term;
use dialoguer::theme::ColorfulTheme;
use dialoguer::{Input, Select};

use super::Arguments;
use super::draft::{Draft, Place};
use super::kinds::{self, Field, KINDS, Key, Need, SecretField};
use super::usual_variable;

/// Ctrl-C, in answer to a question.
#[derive(Debug, thiserror::Error)]
#[error("stopped; nothing was written")]
pub(super) struct Stopped;

/// Asks for all that `arguments` do not give, for a file at `path`.
///
/// # Errors
/// [`Stopped`], or a terminal that went away.
pub(super) fn ask(arguments: &Arguments, path: &Path) -> Result<Draft> {
    let asked = questions(arguments, path);
    asked.map_err(|error| {
        // A list that was being shown has hidden it.
        let _ = Term::stderr().show_cursor();
        match error {
            dialoguer::Error::IO(error) if error.kind() == std::io::ErrorKind::Interrupted => {
                Stopped.into()
            }
            error => anyhow!(error),
        }
    })
}

fn questions(arguments: &Arguments, path: &Path) -> dialoguer::Result<Draft> {
    let form = Form {
        path,
        theme: ColorfulTheme::default(),
    };
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => form.text(
            "Name of the connection (jira, github, …)",
            Default::default(),
            |name| {
                let name = name.to_owned();
                let key = format!("connections.{name}");
                (
                    Draft {
                        name,
                        ..Draft::default()
                    },
                    key,
                )
            },
        )?,
    };
    let below = format!("connections.{name}");
    let mut draft = Draft {
        name,
        ..Draft::default()
    };
    draft.base_url = match &arguments.base_url {
        Some(base_url) => base_url.clone(),
        None => form.text(
            "Base URL of the API (https://…)",
            Default::default(),
            |base_url| {
                let base_url = base_url.to_owned();
                (
                    Draft {
                        base_url,
                        ..draft.clone()
                    },
                    format!("{below}.base_url"),
                )
            },
        )?,
    };
    let kind = match arguments.auth.as_deref().and_then(kinds::of) {
        Some(kind) => kind,
        None => form.kind()?,
    };
    draft.kind = Some(kind);
    for field in kind.fields {
        let value = match field.key.given(arguments) {
            Some(value) => value,
            None => form.field(field, &draft)?,
        };
        if !value.is_empty() {
            draft.fields.push((field.key, value));
        }
    }
    if let Some(secret) = &kind.secret {
        draft.secret = Some(match arguments.place() {
            Some(place) => place,
            None => form.secret(secret, &draft)?,
        });
    }
    let usual = draft.prefix();
    let prefix = match &arguments.prefix {
        Some(prefix) => prefix.clone(),
        None => form.text(
            "Prefix: the path that apps call it by",
            Usual::new(&usual),
            |prefix| {
                let prefix = Some(prefix.to_owned());
                (
                    Draft {
                        prefix,
                        ..draft.clone()
                    },
                    format!("{below}.prefix"),
                )
            },
        )?,
    };
    draft.prefix = Some(prefix).filter(|prefix| *prefix != usual);
    Ok(draft)
}

/// What is taken for an empty answer.
#[derive(Clone, Copy, Default)]
struct Usual<'a> {
    text: Option<&'a str>,
    /// Whether nothing is an answer, too.
    may_be_empty: bool,
}

impl<'a> Usual<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text: Some(text),
            may_be_empty: false,
        }
    }
}

struct Form<'a> {
    path: &'a Path,
    theme: ColorfulTheme,
}

impl Form<'_> {
    /// A text that the loader takes: `with` makes a draft of it, and says under which key its mistakes
    /// are told.
    fn text(
        &self,
        question: &str,
        usual: Usual<'_>,
        with: impl Fn(&str) -> (Draft, String),
    ) -> dialoguer::Result<String> {
        let check = |answer: &String| -> Result<(), String> {
            let (draft, key) = with(answer.trim());
            let (faults, _) = draft.faults(self.path);
            let fault = faults.iter().find(|fault| fault.key() == Some(&key));
            fault.map_or(Ok(()), |fault| Err(fault.message().to_owned()))
        };
        let input = Input::with_theme(&self.theme)
            .with_prompt(question)
            .allow_empty(usual.may_be_empty)
            .validate_with(check);
        let input = match usual.text {
            Some(text) => input.default(text.to_owned()),
            None => input,
        };
        Ok(input.interact_text()?.trim().to_owned())
    }

    fn kind(&self) -> dialoguer::Result<&'static kinds::Kind> {
        let width = KINDS.iter().map(|kind| kind.name.len()).max();
        let width = width.unwrap_or_default();
        let items = KINDS.iter();
        let items = items.map(|kind| format!("{:width$}  {}", kind.name, kind.about));
        let chosen = Select::with_theme(&self.theme)
            .with_prompt("How does the API authenticate?")
            .items(items)
            .default(0)
            .interact()?;
        Ok(&KINDS[chosen])
    }

    fn field(&self, field: &Field, draft: &Draft) -> dialoguer::Result<String> {
        let usual = match field.need {
            Need::Default(text) => Usual::new(text),
            Need::Optional => Usual {
                text: None,
                may_be_empty: true,
            },
            Need::Required => Usual::default(),
        };
        let question = match field.need {
            Need::Optional => format!("{} (may be left out)", field.question),
            _ => field.question.to_owned(),
        };
        let path = format!("connections.{}.auth.{}", draft.name, field.key.name());
        self.text(&question, usual, |answer| {
            let mut draft = draft.clone();
            let path = match field.key {
                // Its place is only there with a secret in it.
                Key::Header | Key::Param => {
                    draft.secret = Some(Place::Env("PATH".to_owned()));
                    format!("{path}.{answer}")
                }
                _ => path.clone(),
            };
            if !answer.is_empty() {
                draft.fields.push((field.key, answer.to_owned()));
            }
            (draft, path)
        })
    }

    fn secret(&self, secret: &SecretField, draft: &Draft) -> dialoguer::Result<Place> {
        let chosen = Select::with_theme(&self.theme)
            .with_prompt(format!("Where is the {}?", secret.question))
            .items(["in an environment variable", "in a file"])
            .default(usize::from(secret.is_file))
            .interact()?;
        let with = |place: Place, key: &str| {
            let path = draft.secret_path().unwrap_or_default();
            let secret = Some(place);
            let draft = Draft {
                secret,
                ..draft.clone()
            };
            (draft, format!("{path}.{key}"))
        };
        if chosen == 0 {
            let usual = usual_variable(&draft.name, secret);
            let name = self.text(
                "Name of the environment variable",
                Usual::new(&usual),
                |name| with(Place::Env(name.to_owned()), "env"),
            )?;
            return Ok(Place::Env(name));
        }
        let path = self.text(
            "Path of the file, from the configuration's folder",
            Usual::default(),
            |path| with(Place::File(path.to_owned()), "file"),
        )?;
        Ok(Place::File(path))
    }
}

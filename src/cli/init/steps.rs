//! What to do once the file is there.

use std::path::Path;

use serde_json::{Value, json};

use super::draft::{Draft, Place};
use crate::cli::output::{FAINT, STRONG, painted};
use crate::config::diagnostic::Diagnostic;
use crate::config::source::{Location, Process, locate};
use crate::shell::word;

/// A command, and why it is run.
pub(super) struct Step {
    command: String,
    why: String,
}

impl Step {
    fn new(command: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            command: command.into(),
            why: why.into(),
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({ "command": self.command, "why": self.why })
    }
}

/// What a draft that was written to `path` needs, in this order.
pub(super) fn of(draft: &Draft, path: &Path, pending: &[Diagnostic]) -> Vec<Step> {
    let mut steps = Vec::new();
    if let (Some(place), Some(fault)) = (&draft.secret, pending.first()) {
        let command = match place {
            Place::Env(name) => format!("export {name}=…"),
            Place::File(file) => {
                let file = path.parent().unwrap_or(Path::new("")).join(file);
                format!("(umask 077; cat > {})", word(file.display()))
            }
        };
        steps.push(Step::new(
            command,
            format!("the secret: {}", fault.message()),
        ));
    }
    let option = option(path);
    let name = &draft.name;
    steps.push(Step::new(
        format!("keybearer check{option}"),
        "is all of it right?",
    ));
    let kind = draft.kind.map_or("", |kind| kind.name);
    if kind == "aws_iam_role" {
        steps.push(Step::new(
            format!("keybearer external-id{option}"),
            "the trust policy that the role needs",
        ));
    }
    steps.push(Step::new(format!("keybearer run{option}"), "start it"));
    if kind.ends_with("_authorization_code") {
        steps.push(Step::new(
            format!("keybearer link {name}{option}"),
            "in another terminal, once http://127.0.0.1:9080/oauth/callback is registered as the redirect URI at the provider",
        ));
    }
    steps.push(Step::new(
        format!("keybearer test {name}{option}"),
        "in another terminal: each phase of a request",
    ));
    steps.push(Step::new(
        format!("curl http://127.0.0.1:8080{}", draft.prefix()),
        "as apps call it",
    ));
    steps
}

/// How commands are told of the file, if they do not find it by themselves.
fn option(path: &Path) -> String {
    let same = |found: &Path| found.canonicalize().ok() == path.canonicalize().ok();
    match locate(None, &Process) {
        Ok(Location::File(found)) if same(&found) => String::new(),
        _ => format!(" --config {}", word(path.display())),
    }
}

pub(super) fn text(steps: &[Step]) -> String {
    let width = steps.iter().map(|step| step.command.chars().count()).max();
    let width = width.unwrap_or_default();
    let line = |step: &Step| {
        let Step { command, why } = step;
        let padding = width - command.chars().count();
        format!(
            "  {}{:padding$}  {}",
            painted(STRONG, command),
            "",
            painted(FAINT, format!("# {why}"))
        )
    };
    steps.iter().map(line).collect::<Vec<_>>().join("\n")
}

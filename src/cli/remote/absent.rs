//! What is told of a connection that the running instance does not have.

use std::path::Path;

use http::Method;

use super::{Instance, Refused, Remote};
use crate::config::nearest;
use crate::config::source::Location;

/// As many names as are worth reading.
const MOST: usize = 12;

impl Remote {
    /// Why the instance does not know `name`; `error` if it does, after all.
    pub(super) async fn absent(&self, name: &str, error: anyhow::Error) -> anyhow::Error {
        let listed = match self.ask(Method::GET, "/api/connections", None).await {
            Ok(listed) => listed,
            Err(error) => return error,
        };
        let there = listed["connections"].as_array().into_iter().flatten();
        let there: Vec<_> = there.filter_map(|one| one["name"].as_str()).collect();
        if there.contains(&name) {
            return error;
        }
        if !self.connections.iter().any(|known| known == name) {
            let text = unknown("the running instance has no connection", name, &there);
            return Refused::unknown(text).into();
        }
        let instance = match self.instance().await {
            Ok(instance) => instance.unwrap_or_default(),
            Err(error) => return error,
        };
        let why = not_in_force(&self.at.location, &instance);
        let location = &self.at.location;
        Refused::unknown(format!(
            "connection `{name}` is in {location}, but the running instance does not have it: {why}"
        ))
        .into()
    }
}

/// That there is no such connection, and which may have been meant.
pub(in crate::cli) fn unknown(what: &str, name: &str, there: &[&str]) -> String {
    if let Some(meant) = nearest(name, there.iter().copied()) {
        return format!("{what} `{name}`; did you mean `{meant}`?");
    }
    let mut names: Vec<_> = there.iter().map(|name| format!("`{name}`")).collect();
    names.sort_unstable();
    match names.len() {
        0 => format!("{what} `{name}`, and no other; add one with `[connections.{name}]`"),
        1..=MOST => format!("{what} `{name}`; there is {}", names.join(", ")),
        count => format!(
            "{what} `{name}`; there are {count} others: {}, …",
            names[..MOST].join(", ")
        ),
    }
}

/// Why an instance does not have what a configuration says.
fn not_in_force(location: &Location, instance: &Instance) -> String {
    let own = match location {
        Location::Embedded => None,
        Location::File(path) | Location::Folder(path) => Some(absolute(path)),
    };
    if instance.config().map(str::to_owned) != own {
        let other = match instance.json().is_null() {
            true => "another configuration, or is of another version",
            false => instance.config().unwrap_or("the embedded default"),
        };
        return format!(
            "it runs with {other}; add the connection there, or start an instance with this configuration"
        );
    }
    match instance.rejection() {
        Some(rejection) => format!(
            "it goes on with an older configuration, as its last reload was rejected at {rejection}; mend what `keybearer check` lists"
        ),
        None => {
            "it has not read the change yet; try again in a moment, or send it SIGHUP".to_owned()
        }
    }
}

fn absolute(path: &Path) -> String {
    let absolute = std::path::absolute(path);
    absolute.map_or_else(
        |_| path.display().to_string(),
        |path| path.display().to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn an_instance_lacks_what_it_runs_without_could_not_read_or_has_not_read_yet() {
        let location = Location::File("/etc/k.toml".into());
        let reload = |result: &str| {
            let errors = json!([{"file": "/etc/k.toml", "message": "no"}]);
            json!({"at": "2026-01-01T00:00:00Z", "result": result, "errors": errors})
        };
        for (told, words) in [
            (json!({"config": "/k.toml"}), "it runs with /k.toml; "),
            (
                json!({"config": null}),
                "it runs with the embedded default; ",
            ),
            // One of a version that tells nothing of it.
            (
                Value::Null,
                "it runs with another configuration, or is of another version; ",
            ),
            (
                json!({"config": "/etc/k.toml", "reload": reload("failure")}),
                "its last reload was rejected at 2026-01-01T00:00:00Z: /etc/k.toml: no; ",
            ),
            (
                json!({"config": "/etc/k.toml", "reload": reload("success")}),
                "it has not read the change yet; ",
            ),
        ] {
            let why = not_in_force(&location, &Instance(told));
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn the_nearest_name_is_suggested_or_all_are_listed() {
        let what = "there is no connection";
        let many: Vec<_> = (0..20).map(|n| format!("conn-{n:02}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        for (name, there, told) in [
            (
                "jria",
                &["jira", "github"][..],
                "`jria`; did you mean `jira`?",
            ),
            ("x", &["jira", "github"], "`x`; there is `github`, `jira`"),
            (
                "x",
                &[],
                "`x`, and no other; add one with `[connections.x]`",
            ),
        ] {
            assert_eq!(unknown(what, name, there), format!("{what} {told}"));
        }
        let told = unknown(what, "x", &many);
        assert!(told.contains("there are 20 others: `conn-00`"), "{told}");
        assert!(told.ends_with("`conn-11`, …"), "{told}");
    }
}

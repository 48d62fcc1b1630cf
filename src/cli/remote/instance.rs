//! What an instance says of itself.

use serde_json::Value;

use crate::config::diagnostic::printable;

/// The answer to `GET /api/status`.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Instance(pub(super) Value);

impl Instance {
    /// The whole answer.
    pub(in crate::cli) fn json(&self) -> &Value {
        &self.0
    }

    /// Its version.
    pub(in crate::cli) fn version(&self) -> &str {
        self.0["version"].as_str().unwrap_or("?")
    }

    /// Whether it takes requests; else it is ending.
    pub(in crate::cli) fn is_ready(&self) -> bool {
        self.0["ready"] != false
    }

    /// Where its configuration is; none for the embedded default.
    pub(super) fn config(&self) -> Option<&str> {
        self.0["config"].as_str()
    }

    /// When its last reload was rejected, and why; none if what its files say is in force.
    pub(in crate::cli) fn rejection(&self) -> Option<String> {
        let reload = &self.0["reload"];
        if reload["result"] != "failure" {
            return None;
        }
        let at = reload["at"].as_str().unwrap_or_default();
        let errors = reload["errors"].as_array().map_or(&[][..], Vec::as_slice);
        let more = match errors.len() {
            0 | 1 => String::new(),
            2 => ", and one more".to_owned(),
            count => format!(", and {} more", count - 1),
        };
        let first = errors.first().map(place_and_message).unwrap_or_default();
        Some(format!("{at}: {}{more}", printable(&first)))
    }
}

/// As a diagnostic's first line is.
fn place_and_message(error: &Value) -> String {
    let mut text = String::new();
    if let Some(file) = error["file"].as_str() {
        text += &format!("{file}:");
        for part in [&error["line"], &error["column"]] {
            if let Some(number) = part.as_u64() {
                text += &format!("{number}:");
            }
        }
        text.push(' ');
    }
    text + error["message"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rejection_is_told_by_its_first_error() {
        let error =
            |line: u32| json!({"file": "k.toml", "line": line, "column": 2, "message": "no"});
        let of = |errors: Value| {
            let reload =
                json!({"at": "2026-01-01T00:00:00Z", "result": "failure", "errors": errors});
            Instance(json!({ "reload": reload })).rejection()
        };
        for (errors, told) in [
            (json!([error(1)]), "k.toml:1:2: no"),
            (json!([error(1), error(2)]), "k.toml:1:2: no, and one more"),
            (
                json!([error(1), error(2), error(3)]),
                "k.toml:1:2: no, and 2 more",
            ),
            (json!([{"file": "k.toml", "message": "no"}]), "k.toml: no"),
            (
                json!([{"message": "connection `a`: no"}]),
                "connection `a`: no",
            ),
            (json!([]), ""),
        ] {
            let told = format!("2026-01-01T00:00:00Z: {told}");
            assert_eq!(of(errors), Some(told));
        }
        let good =
            json!({"reload": {"at": "2026-01-01T00:00:00Z", "result": "success", "errors": []}});
        assert_eq!(Instance(good).rejection(), None);
    }
}

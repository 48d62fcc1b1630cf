//! What the credential fills, taken out of the references in answers.

use http::header::{CONTENT_LOCATION, Entry, LINK, LOCATION, REFRESH};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Strip;
use crate::request::names::NameSet;
use crate::request::query;

impl Strip {
    /// Takes the parameters that the credential fills out of the references in an answer's fields:
    /// many servers redirect to the URL they were asked for.
    pub fn answer(&self, headers: &mut HeaderMap) {
        const REFERENCES: [HeaderName; 4] = [LOCATION, CONTENT_LOCATION, LINK, REFRESH];
        let Some(injected) = &self.injected else {
            return;
        };
        for name in REFERENCES {
            let Entry::Occupied(mut entry) = headers.entry(name) else {
                continue;
            };
            for value in entry.iter_mut() {
                let Ok(text) = value.to_str() else { continue };
                if let Ok(clean) = HeaderValue::try_from(without_parameters(text, injected)) {
                    *value = clean;
                }
            }
        }
    }
}

/// A field value without some parameters in the queries of the references in it.
fn without_parameters(text: &str, names: &NameSet) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('?') {
        clean.push_str(before);
        let end = after.find(['#', '>', '"', ' ']).unwrap_or(after.len());
        let kept = query::remove(&after[..end], |name| names.contains(name));
        if !kept.is_empty() || end == 0 {
            clean.push('?');
        }
        clean.push_str(&kept);
        rest = &after[end..];
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_in_answers_lose_what_was_injected() {
        let names: NameSet = ["api_key"].into_iter().collect();
        for (text, clean) in [
            ("/x/?a=1&api_key=S", "/x/?a=1"),
            ("https://h/x?api_key=S#top", "https://h/x#top"),
            (
                "<http://h/x?a=1&api_key=S&page=2>; rel=\"next\", <http://h/x?api_key=S>; rel=\"last\"",
                "<http://h/x?a=1&page=2>; rel=\"next\", <http://h/x>; rel=\"last\"",
            ),
            ("/x?X-Amz-Signature=1", "/x?X-Amz-Signature=1"),
            ("/x?", "/x?"),
            ("/x", "/x"),
        ] {
            assert_eq!(without_parameters(text, &names), clean);
        }
    }
}

//! Least privilege: which methods and paths a connection lets through.

use std::borrow::Cow;
use std::fmt;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use http::{HeaderMap, HeaderName, Method};
use percent_encoding::percent_decode_str;

/// The `allow` rules of a connection; by default everything under the base URL.
#[derive(Clone, Debug, Default)]
pub struct Allow {
    methods: Option<Box<[Method]>>,
    paths: Option<Paths>,
}

impl fmt::Display for Allow {
    /// As a person reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.methods {
            None => f.write_str("all methods")?,
            Some(methods) => {
                let methods: Vec<_> = methods.iter().map(Method::as_str).collect();
                f.write_str(&methods.join(", "))?;
            }
        }
        match &self.paths {
            None => f.write_str(" on all paths"),
            Some(paths) => write!(f, " on {}", paths.written.join(", ")),
        }
    }
}

#[derive(Clone, Debug)]
struct Paths {
    written: Box<[Box<str>]>,
    globs: GlobSet,
}

impl Allow {
    /// Builds the rules; `None` allows everything of its kind.
    ///
    /// # Errors
    /// Gives the index of the path glob that cannot be parsed, and why.
    pub fn new(
        methods: Option<Vec<Method>>,
        paths: Option<Vec<Box<str>>>,
    ) -> Result<Self, (usize, globset::Error)> {
        let paths = paths.map(Paths::new).transpose()?;
        Ok(Self {
            methods: methods.map(Vec::into_boxed_slice),
            paths,
        })
    }

    /// Whether `method` may be used.
    pub fn permits_method(&self, method: &Method) -> bool {
        self.methods
            .as_ref()
            .is_none_or(|allowed| allowed.contains(method))
    }

    /// Whether every method that the fields ask to be taken for the real one may be used.
    ///
    /// Frameworks let a `POST` say that it means `DELETE`; where methods are restricted, that is
    /// no way around it.
    pub fn permits_overrides(&self, headers: &HeaderMap) -> bool {
        const OVERRIDES: [&str; 3] = [
            "x-http-method-override",
            "x-http-method",
            "x-method-override",
        ];
        if self.methods.is_none() {
            return true;
        }
        // Some servers cannot tell `_` from `-`.
        let overrides = |name: &HeaderName| OVERRIDES.contains(&&*name.as_str().replace('_', "-"));
        headers
            .iter()
            .filter(|(name, _)| overrides(name))
            .all(|(_, value)| {
                let method = value.as_bytes().trim_ascii().to_ascii_uppercase();
                Method::from_bytes(&method).is_ok_and(|method| self.permits_method(&method))
            })
    }

    /// Whether `rest`, the raw path after the prefix, may be requested.
    ///
    /// Globs match the decoded path. As upstreams disagree on what `%2F` is, a path that has one is
    /// let through only if both readings of it match.
    pub fn permits_path(&self, rest: &str) -> bool {
        let Some(paths) = &self.paths else {
            return true;
        };
        let rest = if rest.is_empty() { "/" } else { rest };
        paths.globs.is_match(&*decode(rest))
            && (!has_encoded_slash(rest) || paths.globs.is_match(&*decode_but_slash(rest)))
    }
}

impl PartialEq for Allow {
    fn eq(&self, other: &Self) -> bool {
        let written = |allow: &Self| allow.paths.as_ref().map(|paths| paths.written.clone());
        self.methods == other.methods && written(self) == written(other)
    }
}

impl Paths {
    fn new(written: Vec<Box<str>>) -> Result<Self, (usize, globset::Error)> {
        let mut set = GlobSetBuilder::new();
        for (index, text) in written.iter().enumerate() {
            let glob = GlobBuilder::new(text)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .map_err(|error| (index, error))?;
            set.add(glob);
        }
        let globs = set.build().map_err(|error| (0, error))?;
        Ok(Self {
            written: written.into(),
            globs,
        })
    }
}

fn decode(path: &str) -> Cow<'_, str> {
    percent_decode_str(path).decode_utf8_lossy()
}

fn decode_but_slash(path: &str) -> String {
    let kept = path.replace("%2f", "%252F").replace("%2F", "%252F");
    decode(&kept).into_owned()
}

fn has_encoded_slash(path: &str) -> bool {
    path.as_bytes()
        .windows(3)
        .any(|w| w.eq_ignore_ascii_case(b"%2f"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(globs: &[&str]) -> Allow {
        Allow::new(None, Some(globs.iter().map(|&g| g.into()).collect())).unwrap()
    }

    #[test]
    fn nothing_written_allows_everything() {
        let all = Allow::default();
        assert!(all.permits_method(&Method::DELETE) && all.permits_path("/x"));
    }

    #[test]
    fn paths_match_whole_and_decoded() {
        let allow = paths(&["/issue/**", "/search", "/files/*", "/my files/*"]);
        for (path, permitted, why) in [
            ("/issue/1/comment", true, "two stars cross segments"),
            ("/issue", false, "`/**` asks for something below"),
            ("/search", true, "exact"),
            ("/search/x", false, "exact means exact"),
            ("/files/a", true, "one star, one segment"),
            ("/files/a/b", false, "one star never crosses a segment"),
            (
                "/files/a%2Fb",
                false,
                "an upstream may take %2F for a segment's end",
            ),
            ("/issue%2F1", false, "and another may not"),
            ("/issue/a%2Fb", true, "both readings match"),
            ("/my%20files/a", true, "globs are written decoded"),
            ("/%69ssue/1", true, "the same path, spelled otherwise"),
            ("", false, "the bare prefix is `/`"),
        ] {
            assert_eq!(allow.permits_path(path), permitted, "{path}: {why}");
        }
    }

    #[test]
    fn only_listed_methods_pass() {
        let allow = Allow::new(Some(vec![Method::GET]), None).unwrap();
        assert!(allow.permits_method(&Method::GET) && !allow.permits_method(&Method::HEAD));
    }

    #[test]
    fn a_method_cannot_be_disguised_as_another() {
        let allow = Allow::new(Some(vec![Method::POST]), None).unwrap();
        let mut headers = HeaderMap::new();
        assert!(allow.permits_overrides(&headers));
        for name in [
            "x-http-method-override",
            "x_http_method_override",
            "x-http_method",
        ] {
            headers.clear();
            headers.insert(name, "delete".parse().unwrap());
            assert!(!allow.permits_overrides(&headers), "{name}");
        }
        assert!(Allow::default().permits_overrides(&headers));
    }

    #[test]
    fn a_bad_glob_is_named_by_its_index() {
        let (index, _) = Allow::new(None, Some(vec!["/a".into(), "/[".into()])).unwrap_err();
        assert_eq!(index, 1);
    }
}

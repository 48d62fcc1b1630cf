//! Step 2: the longest prefix on whole segments, or a host of the connection's own.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::guard::HostName;
use crate::connection::url::Prefix;

/// Routes to `T`s, in a time that does not grow with their number.
#[derive(Clone, Debug)]
pub struct Routes<T> {
    hosts: HashMap<Box<str>, T, RandomState>,
    prefixes: HashMap<Box<str>, T, RandomState>,
    /// Segments of the longest prefix: no more are tried.
    depth: usize,
}

/// What a request was routed to.
#[derive(Debug, PartialEq, Eq)]
pub struct Found<'a, T> {
    /// The target.
    pub target: &'a T,
    /// How many bytes of the path belong to the prefix; none when the host decided.
    pub prefix_len: usize,
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self {
            hosts: HashMap::default(),
            prefixes: HashMap::default(),
            depth: 0,
        }
    }
}

impl<T> Routes<T> {
    /// Routes a prefix.
    pub fn insert_prefix(&mut self, prefix: &Prefix, target: T) {
        self.depth = self.depth.max(prefix.depth());
        self.prefixes.insert(prefix.as_str().into(), target);
    }

    /// Routes a host name, in lower case and without port.
    pub fn insert_host(&mut self, host: &str, target: T) {
        self.hosts.insert(host.into(), target);
    }

    /// The target of a host name of its own.
    pub fn by_host(&self, host: HostName<'_>) -> Option<Found<'_, T>> {
        if self.hosts.is_empty() {
            return None;
        }
        let name = host.0.strip_suffix('.').unwrap_or(host.0);
        let name = match name.bytes().any(|b| b.is_ascii_uppercase()) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        };
        self.hosts.get(&*name).map(|target| Found {
            target,
            prefix_len: 0,
        })
    }

    /// The target of the longest prefix that covers whole segments of `path`.
    pub fn by_path(&self, path: &str) -> Option<Found<'_, T>> {
        let mut end = nth_segment_end(path, self.depth);
        loop {
            if let Some(target) = self.prefixes.get(&path[..end]) {
                return Some(Found {
                    target,
                    prefix_len: end,
                });
            }
            end = path[..end].rfind('/')?;
        }
    }
}

/// Where the `count`th segment of an absolute path ends, or the path.
fn nth_segment_end(path: &str, count: usize) -> usize {
    let mut slashes = path
        .bytes()
        .enumerate()
        .filter(|&(_, b)| b == b'/')
        .map(|(at, _)| at);
    slashes.nth(count).unwrap_or(path.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(prefixes: &[&'static str]) -> Routes<&'static str> {
        let mut routes = Routes::default();
        for &prefix in prefixes {
            routes.insert_prefix(&Prefix::parse(prefix).unwrap(), prefix);
        }
        routes
    }

    #[test]
    fn longest_prefix_on_whole_segments_wins() {
        let routes = routes(&["/", "/jira", "/jira/admin", "/a/b/c"]);
        for (path, target) in [
            ("/jira", "/jira"),
            ("/jira/", "/jira"),
            ("/jira/x/y/z", "/jira"),
            ("/jira/admin", "/jira/admin"),
            ("/jira/admin/x", "/jira/admin"),
            ("/jira/administrator", "/jira"),
            ("/jirax", "/"),
            ("/a/b", "/"),
            ("/a/b/c/d", "/a/b/c"),
            ("/", "/"),
            ("//jira", "/"),
        ] {
            let found = routes.by_path(path).unwrap();
            assert_eq!(
                (*found.target, found.prefix_len),
                (target, target.trim_end_matches('/').len()),
                "{path}"
            );
        }
    }

    #[test]
    fn without_a_catch_all_the_rest_goes_nowhere() {
        let routes = routes(&["/jira"]);
        for path in ["/", "/jirax", "/JIRA", "//jira", "/jir%61", "*", ""] {
            assert_eq!(routes.by_path(path), None, "{path}");
        }
    }

    #[test]
    fn host_names_match_in_any_case() {
        let mut routes = routes(&[]);
        routes.insert_host("jira.localhost", "jira");
        assert_eq!(
            routes
                .by_host(HostName("JIRA.localhost."))
                .map(|found| *found.target),
            Some("jira")
        );
        assert_eq!(routes.by_host(HostName("localhost")), None);
    }
}

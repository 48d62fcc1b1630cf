//! A connection's last requests, as the console shows them: [`Recent`].

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use parking_lot::Mutex;
use tokio::time::Instant;

/// How many requests are remembered.
pub const MOST: usize = 200;

/// Memory is taken for so many at a time: most connections see few.
const CHUNK: usize = 20;

/// Longer paths are cut, in bytes.
const LONGEST_PATH: usize = 256;

/// The last requests of one connection, in a ring of places.
///
/// A place is taken by counting, so writers meet only where the ring has gone all around; and whoever
/// finds a place in use, by a writer or a reader, leaves it alone: nobody waits.
#[derive(Debug, Default)]
pub struct Recent {
    next: AtomicUsize,
    /// Whether the last request failed.
    failing: AtomicBool,
    /// On the heap, as most connections of a large configuration have no requests.
    chunks: OnceLock<Box<Chunks>>,
}

type Chunks = [OnceLock<Box<Chunk>>; MOST / CHUNK];

type Chunk = [Mutex<Option<Entry>>; CHUNK];

/// One request that is over.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The method.
    pub method: Method,
    /// The path without the query; cut where it is very long.
    pub path: String,
    /// How it went.
    pub figures: Figures,
    /// What keybearer answered in place of the upstream.
    pub problem: Option<Box<str>>,
}

/// How a request went, in figures.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// When its head had arrived.
    pub begun: Instant,
    /// The answer's status; none if the caller went away before there was one.
    pub status: Option<StatusCode>,
    /// From the head to the end of the answer.
    pub whole: Duration,
    /// From sending it upstream to the head of the answer.
    pub upstream: Option<Duration>,
    /// Bytes of the answer's content.
    pub bytes: u64,
    /// How many times it was sent again because a connection failed.
    pub retries: u32,
    /// Whether it was sent a second time with a renewed credential.
    pub replayed: bool,
    /// Whether the answer broke off.
    pub aborted: bool,
}

impl Recent {
    /// Remembers a request, over an older one, whose memory serves again; `problem` is what keybearer
    /// answered in place of the upstream.
    pub fn note(&self, method: &Method, path: &str, figures: &Figures, problem: Option<Box<str>>) {
        let has_failed = figures.has_failed(problem.is_some());
        // Most requests change nothing of it, and so share it.
        if self.failing.load(Ordering::Relaxed) != has_failed {
            self.failing.store(has_failed, Ordering::Relaxed);
        }
        let place = self.next.fetch_add(1, Ordering::Relaxed) % MOST;
        let chunks = self.chunks.get_or_init(Default::default);
        let chunk =
            chunks[place / CHUNK].get_or_init(|| Box::new([const { Mutex::new(None) }; CHUNK]));
        let Some(mut slot) = chunk[place % CHUNK].try_lock() else {
            return;
        };
        let entry = slot.get_or_insert_with(|| Entry {
            method: Method::GET,
            path: String::new(),
            figures: *figures,
            problem: None,
        });
        entry.method.clone_from(method);
        entry.path.clear();
        let end = path.floor_char_boundary(LONGEST_PATH);
        entry.path.push_str(&path[..end]);
        entry.figures = *figures;
        entry.problem = problem;
    }

    /// What is remembered, the last one first.
    pub fn list(&self) -> Vec<Entry> {
        let mut entries: Vec<_> = self
            .places()
            .filter_map(|place| place.lock().clone())
            .collect();
        entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.figures.begun));
        entries
    }

    fn places(&self) -> impl Iterator<Item = &Mutex<Option<Entry>>> {
        let chunks = self
            .chunks
            .get()
            .into_iter()
            .flat_map(|chunks| chunks.iter());
        chunks
            .filter_map(OnceLock::get)
            .flat_map(|chunk| chunk.iter())
    }

    /// Whether keybearer had to answer the last request itself with a server error.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// The last request that keybearer had to answer itself with a server error.
    pub fn last_failure(&self) -> Option<Entry> {
        let mut last: Option<Entry> = None;
        for place in self.places() {
            let place = place.lock();
            if let Some(entry) = &*place
                && entry.figures.has_failed(entry.problem.is_some())
                && (last.as_ref()).is_none_or(|last| last.figures.begun < entry.figures.begun)
            {
                last = Some(entry.clone());
            }
        }
        last
    }
}

impl Figures {
    /// Of a request that begins.
    pub fn begin(begun: Instant) -> Self {
        Self {
            begun,
            status: None,
            whole: Duration::ZERO,
            upstream: None,
            bytes: 0,
            retries: 0,
            replayed: false,
            aborted: true,
        }
    }

    /// Whether the answer was a server error, and `is_own`: keybearer's.
    pub fn has_failed(&self, is_own: bool) -> bool {
        is_own && (self.status).is_some_and(|status| status.is_server_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(recent: &Recent, begun: Instant, status: u16, path: &str) {
        let figures = Figures {
            status: StatusCode::from_u16(status).ok(),
            ..Figures::begin(begun)
        };
        let problem = (status == 502).then(|| "why".into());
        recent.note(&Method::GET, path, &figures, problem);
    }

    #[test]
    fn the_last_ones_are_remembered_and_the_newest_comes_first() {
        let recent = Recent::default();
        let begin = Instant::now();
        for n in 0..MOST + 5 {
            let begun = begin + Duration::from_millis(n as u64);
            note(&recent, begun, 200, &format!("/{n}"));
        }
        let paths: Vec<_> = recent.list().into_iter().map(|entry| entry.path).collect();
        assert_eq!(paths.len(), MOST);
        assert_eq!(paths[0], format!("/{}", MOST + 4));
        assert_eq!(paths[MOST - 1], "/5");
    }

    #[test]
    fn a_path_is_cut_between_characters() {
        let recent = Recent::default();
        note(&recent, Instant::now(), 200, &"/\u{e4}".repeat(200));
        let path = &recent.list()[0].path;
        assert!(path.len() <= LONGEST_PATH && path.len() > LONGEST_PATH - 4);
    }

    #[test]
    fn the_last_failure_is_one_of_our_own() {
        let recent = Recent::default();
        let begin = Instant::now();
        for (n, status) in [502, 500, 404, 200].into_iter().enumerate() {
            let begun = begin + Duration::from_millis(n as u64);
            note(&recent, begun, status, &format!("/{n}"));
        }
        assert!(!recent.is_failing());
        note(&recent, begin, 502, "/1");
        assert!(recent.is_failing());
        assert_eq!(
            recent.last_failure().map(|entry| entry.path),
            Some("/0".into())
        );
    }

    #[test]
    fn a_place_in_use_is_left_alone() {
        let recent = Recent::default();
        note(&recent, Instant::now(), 200, "/0");
        let chunk = recent.chunks.get().unwrap()[0].get().unwrap();
        let held = chunk[1].lock();
        // Nobody waits for it.
        note(&recent, Instant::now(), 200, "/1");
        drop(held);
        assert_eq!(recent.list().len(), 1);
    }
}

//! The way of what is over to the exporter: [`Handover`], to which any thread adds, and which one empties.

use std::fmt;
use std::iter;
use std::mem;
use std::ops::RangeInclusive;

use parking_lot::{Mutex, MutexGuard};
use thread_local::ThreadLocal;

use super::renewal::Renewed;
use super::request::Noted;

/// So many ended requests are in a batch at most: shared out among the threads that serve.
const MOST: usize = 2048;

/// On each thread, so many may be, however many threads there are.
const MOST_AT_LEAST: usize = 512;

/// It looks at them as soon as so many may be there, if all threads have the same to do: these are not
/// more spans than it holds while it sends others.
const ENOUGH: usize = 2048;

/// On one thread, as few are worth a look, and so many need one: their memory is to serve for the next
/// ones while it is still in the processor's cache.
const ENOUGH_OF_ONE: RangeInclusive<usize> = 2..=256;

/// What is over, by the thread where it ended.
///
/// What a request notes is only written by its thread, to memory that comes after that of the last
/// one: to look at anything there would be to wait for what another processor had last. Each thread
/// has two batches, of which the exporter has one in hand at most, and so no request waits.
pub(super) struct Handover {
    threads: ThreadLocal<Pair>,
    /// So many requests are in a batch at most.
    most: usize,
    /// It is time to look at so many of a thread.
    enough: usize,
}

/// Apart from those of other threads, also in the processors' caches.
#[derive(Default)]
#[repr(align(128))]
struct Pair([Mutex<Batch>; 2]);

/// What ended in one thread since the exporter looked.
#[derive(Default)]
pub(super) struct Batch {
    requests: Vec<Noted>,
    /// The requests' paths, one after the other.
    paths: String,
    renewals: Vec<Renewed>,
}

/// What is over, and becomes spans.
#[derive(Clone, Copy)]
pub(super) enum Ended<'b> {
    Renewal(&'b Renewed),
    /// With its path.
    Request(&'b Noted, &'b str),
}

// === impl Handover ===

impl Handover {
    /// Nothing yet, of so many threads that serve.
    pub(super) fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        let (fewest, most) = ENOUGH_OF_ONE.into_inner();
        Self {
            threads: ThreadLocal::new(),
            most: (MOST / threads).max(MOST_AT_LEAST),
            enough: (ENOUGH / threads).clamp(fewest, most),
        }
    }

    /// Adds a request with its path, unless there are too many already; `noted` is told how long the
    /// path is. Gives whether it is time to look at them, and none for one that was not added.
    pub(super) fn request(&self, path: &str, noted: impl FnOnce(usize) -> Noted) -> Option<bool> {
        let mut batch = self.batch()?;
        batch.paths.push_str(path);
        // Unlike `push`, this finds the place first: what is noted is then written to it, and to nowhere
        // else before, which halves what it takes.
        batch.requests.extend(iter::once_with(|| noted(path.len())));
        // Once, as one look takes all.
        Some(batch.requests.len() == self.enough)
    }

    /// Adds a renewal, unless there are too many already; gives whether it was added.
    pub(super) fn renewal(&self, renewed: Renewed) -> bool {
        let batch = self.batch();
        let has_room = batch.is_some();
        if let Some(mut batch) = batch {
            batch.renewals.push(renewed);
        }
        has_room
    }

    /// Where this thread adds what is over.
    fn batch(&self) -> Option<MutexGuard<'_, Batch>> {
        let Pair(pair) = self.threads.get_or_default();
        // Between two tries, the exporter may come from one to the other; and back, but for bad luck.
        (0..4).find_map(|turn| {
            let batch = pair[turn % 2].try_lock()?;
            batch.has_room(self.most).then_some(batch)
        })
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.batches().all(|batch| batch.lock().is_empty())
    }

    /// Takes each batch with anything in it in exchange for `spare`, and gives it to `read`.
    pub(super) fn take(&self, spare: &mut Batch, mut read: impl FnMut(&Batch)) {
        for batch in self.batches() {
            let mut batch = batch.lock();
            // Memory is not exchanged for that of a thread which has nothing to do.
            if batch.is_empty() {
                continue;
            }
            mem::swap(&mut *batch, spare);
            // No longer than that: the thread uses the other one meanwhile.
            drop(batch);
            read(spare);
            spare.clear(self.enough);
        }
    }

    fn batches(&self) -> impl Iterator<Item = &Mutex<Batch>> {
        self.threads.iter().flat_map(|Pair(pair)| pair)
    }
}

/// Nothing of what is in it: paths may have keys in them.
impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handover").finish_non_exhaustive()
    }
}

// === impl Batch ===

impl Batch {
    /// What is over.
    pub(super) fn ended(&self) -> impl Iterator<Item = Ended<'_>> {
        let mut paths = &*self.paths;
        let requests = self.requests.iter().map(move |noted| {
            let (path, rest) = paths.split_at_checked(noted.path_len).unwrap_or_default();
            paths = rest;
            Ended::Request(noted, path)
        });
        self.renewals.iter().map(Ended::Renewal).chain(requests)
    }

    fn has_room(&self, most: usize) -> bool {
        self.requests.len() < most && self.renewals.len() < most
    }

    fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.renewals.is_empty()
    }

    /// Forgets all but the memory, if that is not more than most batches need.
    fn clear(&mut self, enough: usize) {
        const PATH: usize = 128;
        self.requests.clear();
        self.requests.shrink_to(2 * enough);
        self.paths.clear();
        self.paths.shrink_to(2 * enough * PATH);
        self.renewals = Vec::new();
    }
}

// === impl Ended ===

impl Ended<'_> {
    /// How many spans it becomes.
    pub(super) fn spans(self) -> usize {
        match self {
            Self::Renewal(renewed) => renewed.spans(),
            Self::Request(noted, _) => noted.course.spans(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use http::{Method, Version};
    use tokio::time::Instant;

    use super::*;
    use crate::traces::context::Context;
    use crate::traces::request::{Course, End};

    fn add(handover: &Handover, path: &str) -> Option<bool> {
        let now = Instant::now();
        handover.request(path, |path_len| Noted {
            context: Context::root(|_| true),
            course: Course::default(),
            end: End {
                begun: now,
                ended: now,
                version: Version::HTTP_11,
                method: Method::GET,
                local: None,
                connection: None,
                prefix_len: 0,
                status: None,
                error: None,
                is_whole: true,
            },
            path_len,
        })
    }

    fn paths(handover: &Handover) -> Vec<String> {
        let mut paths = Vec::new();
        handover.take(&mut Batch::default(), |batch| {
            paths.extend(batch.ended().map(|ended| match ended {
                Ended::Request(_, path) => path.to_owned(),
                Ended::Renewal(_) => panic!("a renewal"),
            }));
        });
        paths
    }

    #[test]
    fn what_any_thread_adds_is_taken_once_and_with_its_path() {
        let handover = Arc::new(Handover::new(1));
        let adding = (0..4).map(|thread| {
            let handover = Arc::clone(&handover);
            thread::spawn(move || {
                for n in 0..300 {
                    let path = format!("/{thread}/\u{e4}{n}");
                    while add(&handover, &path).is_none() {}
                }
            })
        });
        let adding: Vec<_> = adding.collect();
        let mut taken = Vec::new();
        while !adding.iter().all(|thread| thread.is_finished()) {
            taken.extend(paths(&handover));
        }
        adding.into_iter().for_each(|thread| thread.join().unwrap());
        taken.extend(paths(&handover));
        assert!(handover.is_empty());
        taken.sort();
        let all = (0..4).flat_map(|thread| (0..300).map(move |n| format!("/{thread}/\u{e4}{n}")));
        let mut all: Vec<_> = all.collect();
        all.sort();
        assert_eq!(taken, all);
    }

    #[test]
    fn nobody_waits_for_a_batch_that_is_in_hand() {
        let handover = Handover::new(1);
        assert_eq!(add(&handover, "/1"), Some(false));
        let Pair([first, second]) = handover.threads.get().unwrap();
        let in_hand = first.lock();
        assert_eq!(add(&handover, "/2"), Some(false));
        let other = second.lock();
        assert_eq!(add(&handover, "/3"), None, "one is in hand at most");
        drop((in_hand, other));
        assert_eq!(paths(&handover), ["/1", "/2"]);
    }

    #[test]
    fn it_is_time_once_and_what_is_too_much_is_not_taken() {
        let handover = Handover::new(1);
        for batch in ["first", "second"] {
            let times = (0..MOST).filter(|_| add(&handover, "/").unwrap()).count();
            assert_eq!(times, 1, "one look takes all of the {batch}");
        }
        assert_eq!(add(&handover, "/"), None);
        assert_eq!(paths(&handover).len(), 2 * MOST);
        assert_eq!(add(&handover, "/"), Some(false));
    }

    #[test]
    fn many_threads_leave_not_more_than_is_held_before_it_is_time() {
        for threads in [0, 1, 2, 8, 17, 64, 1024] {
            let handover = Handover::new(threads);
            let waiting = threads.max(1) * handover.enough;
            assert!(waiting <= ENOUGH, "{threads} threads: {waiting}");
            assert!(handover.most >= handover.enough);
        }
    }
}

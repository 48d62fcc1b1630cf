//! A value with a lifetime: [`Lease`], which knows when it ends, when to renew it, and what became of
//! it since.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::backoff::spread;
use super::state::Fault;

/// A refused value that replaced a refused one and never did any good is not renewed again for so
/// long: an upstream that refuses whatever it is sent must not cost a renewal per request.
const UNPROVEN: Duration = Duration::from_secs(30);

/// So many values in a row may be refused within that time and be renewed at once, even where each of
/// them did good elsewhere.
const IN_A_ROW: u32 = 5;

/// A value is used so long before the next one is asked for.
const SHORTEST: Duration = Duration::from_secs(1);

/// A value and its time.
#[derive(Debug)]
pub struct Lease<T> {
    /// The value.
    pub value: T,
    /// When it is no longer to be used; none if nobody knows of an end.
    pub expires: Option<SystemTime>,
    /// When to get the next one; none if it cannot be renewed, or need not be.
    pub renews: Option<SystemTime>,
    /// Whether there is another to be had without a person's consent.
    pub renewable: bool,
    /// What is wrong if it is refused, where renewing it brings no other by itself.
    pub refusal: Option<Arc<Fault>>,
    /// Whether it has replaced a value that was refused.
    forced: Option<Forced>,
    /// Whether it was accepted somewhere.
    proven: AtomicBool,
    /// Whether what was refused with the value before was refused with it, too.
    doubted: AtomicBool,
    /// Whether it was refused since it was last accepted.
    refused: AtomicBool,
}

/// How a value came to replace one that was refused.
#[derive(Clone, Copy, Debug)]
struct Forced {
    at: SystemTime,
    /// How many such values came shortly after each other, this one included.
    in_a_row: u32,
}

impl<T> Lease<T> {
    /// A value that ends at `expires`, to be renewed `before` that, more or less.
    pub fn new(value: T, now: SystemTime, expires: Option<SystemTime>, before: Before) -> Self {
        let renews = expires.map(|expires| before.renewal(now, expires));
        Self {
            value,
            expires,
            renews,
            renewable: true,
            refusal: None,
            forced: None,
            proven: AtomicBool::new(false),
            doubted: AtomicBool::new(false),
            refused: AtomicBool::new(false),
        }
    }

    /// Whether it may be used.
    pub fn is_live(&self, now: SystemTime) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    /// Notes that it was accepted.
    pub fn prove(&self) {
        // Looked at first: a line of memory that is only read is shared by all cores.
        if !self.proven.load(Ordering::Relaxed) {
            self.proven.store(true, Ordering::Relaxed);
        }
        if self.refused.load(Ordering::Relaxed) {
            self.refused.store(false, Ordering::Relaxed);
        }
    }

    /// Notes that it was refused; tells whether that is news.
    pub(super) fn refuse(&self) -> bool {
        !self.refused.swap(true, Ordering::Relaxed)
    }

    /// What is wrong, if it was refused since it was last accepted.
    pub(super) fn lost(&self) -> Option<&Arc<Fault>> {
        self.refusal.as_ref().filter(|_| self.is_refused())
    }

    /// Whether it was refused since it was last accepted.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Notes that a request was refused with it as it was with the value before: what is refused is
    /// then the request.
    pub fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    /// Whether renewing it could help, now that it was refused.
    pub(super) fn deserves_renewal(&self, now: SystemTime) -> bool {
        if !self.renewable {
            return false;
        }
        let helped = self.proven.load(Ordering::Relaxed) && !self.doubted.load(Ordering::Relaxed);
        self.recently_forced(now)
            .is_none_or(|forced| helped && forced.in_a_row < IN_A_ROW)
    }

    /// The same, as what comes in place of `refused`.
    pub(super) fn replacing(self, refused: &Self, now: SystemTime) -> Self {
        let before = refused.recently_forced(now);
        let in_a_row = before.map_or(1, |before| before.in_a_row + 1);
        Self {
            forced: Some(Forced { at: now, in_a_row }),
            ..self
        }
    }

    fn recently_forced(&self, now: SystemTime) -> Option<Forced> {
        let recent = |forced: &Forced| now.duration_since(forced.at).unwrap_or_default() < UNPROVEN;
        self.forced.filter(recent)
    }
}

/// How long before its end a value is renewed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Before(pub Option<Duration>);

impl Before {
    /// A tenth of the lifetime, 30 s at least, never more than half; somewhat earlier by chance, so
    /// that many values of one age are not renewed in one moment.
    fn renewal(self, now: SystemTime, expires: SystemTime) -> SystemTime {
        let lifetime = expires.duration_since(now).unwrap_or_default();
        let before = self
            .0
            .unwrap_or_else(|| (lifetime / 10).max(Duration::from_secs(30)));
        let before = before.min(lifetime / 2);
        let renewal = expires - before - spread(before / 5);
        // Whatever is said of lifetimes, nobody is asked more than once a second.
        renewal.max(now + SHORTEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn lease(now: SystemTime) -> Lease<()> {
        Lease::new((), now, Some(now + HOUR), Before::default())
    }

    #[test]
    fn a_tenth_before_its_end_and_never_more_than_half() {
        let now = SystemTime::now();
        for (before, lifetime, least, most) in [
            (None, 3600, 3168, 3240),
            (None, 100, 64, 70),
            (None, 10, 4, 5),
            (Some(600), 3600, 2880, 3000),
            (Some(600), 100, 40, 50),
        ] {
            let before = Before(before.map(Duration::from_secs));
            let renewal = before.renewal(now, now + Duration::from_secs(lifetime));
            let after = renewal.duration_since(now).unwrap().as_secs_f64();
            let range = f64::from(least)..=f64::from(most);
            assert!(range.contains(&after), "{after} of {lifetime}");
        }
    }

    #[test]
    fn what_was_refused_is_renewed_where_that_can_help() {
        let now = SystemTime::now();
        let first = lease(now);
        assert!(first.deserves_renewal(now));
        let second = lease(now).replacing(&first, now);
        assert!(!second.deserves_renewal(now));
        assert!(second.deserves_renewal(now + UNPROVEN));
        second.prove();
        assert!(second.deserves_renewal(now));
        second.doubt();
        assert!(!second.deserves_renewal(now));
    }

    #[test]
    fn proven_ones_are_renewed_so_often_in_a_row() {
        let now = SystemTime::now();
        let mut held = lease(now);
        for _ in 0..IN_A_ROW {
            assert!(held.deserves_renewal(now));
            held = lease(now).replacing(&held, now);
            held.prove();
        }
        assert!(!held.deserves_renewal(now));
        let later = now + UNPROVEN;
        assert!(held.deserves_renewal(later));
        held = lease(later).replacing(&held, later);
        held.prove();
        assert!(held.deserves_renewal(later));
    }
}

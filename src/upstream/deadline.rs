//! A timer that is cheap to move: [`Deadline`].

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A point in time that moves on with every sign of progress.
///
/// The timer behind it is not touched when it moves: it fires early, sees that its time was moved,
/// and is armed again. A connection that makes progress pays for reading the clock only.
#[derive(Debug)]
pub struct Deadline {
    at: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Deadline {
    /// A deadline that lies `after` from now.
    pub fn new(after: Duration) -> Self {
        let at = Instant::now() + after;
        Self {
            at,
            timer: Box::pin(sleep_until(at)),
        }
    }

    /// Moves it to `at`.
    pub fn set(&mut self, at: Instant) {
        self.at = at;
        if self.at < self.timer.deadline() {
            self.timer.as_mut().reset(self.at);
        }
    }

    /// When it passes, as it stands.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// Ready once it has passed.
    pub fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.timer.deadline() >= self.at {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.at);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn it_passes_when_nothing_moved_it_and_not_before() {
        let start = Instant::now();
        let mut deadline = Deadline::new(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(900)).await;
        deadline.set(Instant::now() + Duration::from_secs(1));
        poll_fn(|cx| deadline.poll_passed(cx)).await;
        assert_eq!(start.elapsed().as_millis(), 1900);
    }

    #[tokio::test(start_paused = true)]
    async fn it_can_be_moved_closer() {
        let start = Instant::now();
        let mut deadline = Deadline::new(Duration::from_secs(60));
        deadline.set(Instant::now() + Duration::from_secs(1));
        poll_fn(|cx| deadline.poll_passed(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 1);
    }
}

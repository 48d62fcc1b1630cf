//! Content that is still on its way when its answer begins: [`Upload`].

use std::sync::Arc;

use http::header::CONNECTION;
use http::{HeaderMap, Response, Version};
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::flow::{Flow, Stage};
use super::link::allowance;
use crate::connection::Timeouts;

/// A connection that is driven by a task, as its answer began before its request had ended.
///
/// If it was driven by whoever reads the answer, a caller that reads nothing before it has sent all
/// would wait for its upload, and the upload for the caller. Dropping this ends the connection.
#[derive(Debug)]
pub(super) struct Upload {
    driving: AbortOnDropHandle<()>,
    flow: Arc<Flow>,
    timeouts: Timeouts,
    /// Whether the upstream reads on after it has answered.
    wanted: bool,
}

impl Upload {
    /// Drives the connection on which `response` came before the content of `flow` had ended.
    pub(super) fn begin<B>(
        driver: impl Future<Output: Send> + Send + 'static,
        flow: Arc<Flow>,
        response: &Response<B>,
        timeouts: &Timeouts,
    ) -> Self {
        // How it ends is told by the answer's content.
        let driving = tokio::spawn(async move { drop(driver.await) });
        Self {
            driving: AbortOnDropHandle::new(driving),
            flow,
            timeouts: *timeouts,
            wanted: response.version() >= Version::HTTP_11 && !closes(response.headers()),
        }
    }

    /// Lets it go on after the answer for as long as it makes progress; not if the upstream said
    /// that it closes, and so wants no more (RFC 9112 section 9.5), while there is more to send.
    ///
    /// What it needs meanwhile is dropped behind it.
    pub(super) fn finish<T: Send + 'static>(self, needed: T) {
        let wanted = self.wanted || self.flow.observe().0 == Stage::Ended;
        if wanted && !self.driving.is_finished() {
            tokio::spawn(async move {
                self.watch().await;
                drop(needed);
            });
        }
    }

    /// Ends with the connection, which closes by itself, as nobody holds its handle any more.
    async fn watch(mut self) {
        let look = self.timeouts.read.min(self.timeouts.write);
        let mut progress = Instant::now();
        let mut observed = self.flow.observe();
        while timeout(look, &mut self.driving).await.is_err() {
            let seen = self.flow.observe();
            if seen != observed {
                observed = seen;
                progress = Instant::now();
            } else if progress.elapsed() >= allowance(seen.0, &self.timeouts) {
                return;
            }
        }
    }
}

fn closes(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|value| {
        value
            .as_bytes()
            .split(|&b| b == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"))
    })
}

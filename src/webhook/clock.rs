//! Time as deliveries know it: [`Clock`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

/// How long the clock is not looked at.
const GLANCE: Duration = Duration::from_secs(30);
const LEAST: Duration = Duration::from_millis(1);

/// What tells the time, and waits for it.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time.
    fn now(&self) -> SystemTime;

    /// Waits until it is `time`.
    fn until(&self, time: SystemTime) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The system's clock.
#[derive(Clone, Copy, Debug)]
pub struct System;

impl Clock for System {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn until(&self, time: SystemTime) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            // Looked at again and again, as the system's time may be set meanwhile.
            while let Ok(left) = time.duration_since(SystemTime::now()) {
                tokio::time::sleep(left.clamp(LEAST, GLANCE)).await;
            }
        })
    }
}

//! The one integration binary: the built executable, driven over real sockets.
//!
//! Modules follow the sections of the interface; `harness` has what they share. Everything listens
//! on port 0, waits for conditions with a deadline, and is stopped when dropped.

#![allow(
    unreachable_pub,
    reason = "in a test binary every item is; `pub` marks what a module offers to the others"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, in its helpers too"
)]
#![allow(
    clippy::print_stdout,
    reason = "measured figures, for whoever runs with `--nocapture`"
)]

mod harness;

mod agent;
mod aws;
mod cli;
mod clients;
mod console;
mod deployment;
mod docs;
mod drafts;
mod errors;
mod external_id;
mod forward;
mod guard;
mod http2;
mod inject;
mod linking;
mod mutual_tls;
mod network;
mod oauth;
mod observability;
mod rate;
mod reload;
mod scale;
mod secrets;
mod tls;
mod traces;
mod webhooks;

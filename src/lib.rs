//! keybearer: apps call localhost in plain HTTP, keybearer adds the keys.

pub mod agent;
pub mod auth;
pub mod cli;
pub mod config;
pub mod connection;
pub mod console;
pub mod live;
pub mod metrics;
pub mod problem;
pub mod proxy;
pub mod request;
pub mod secret;
pub mod shell;
pub mod store;
pub mod traces;
pub mod upstream;
pub mod webhook;

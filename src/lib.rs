//! keybearer: apps call localhost in plain HTTP, keybearer adds the keys.

pub mod config;
pub mod connection;
pub mod problem;
pub mod secret;

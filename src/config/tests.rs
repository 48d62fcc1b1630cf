//! Whole configurations: `tests/data/config/valid` compiles, each file of `tests/data/config/invalid`
//! gives exactly the diagnostics beside it (`KEYBEARER_BLESS=1` writes them anew).

mod aws;
mod canary;
mod cases;
mod files;
mod network;
mod oauth2;
mod store;
mod values;
mod world;

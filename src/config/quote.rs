//! Keys and texts as TOML 1.0 writes them, for the configurations that keybearer itself writes.

use toml_writer::{TomlKeyBuilder, TomlStringBuilder, TomlWrite};

/// A basic string, in its quotes.
pub(crate) fn string(text: &str) -> String {
    let mut written = String::new();
    let builder = TomlStringBuilder::new(text);
    // Into memory, which takes all.
    let _ = written.value(builder.as_basic());
    written
}

/// A key, bare where it can be.
pub(crate) fn key(text: &str) -> String {
    let mut written = String::new();
    let builder = TomlKeyBuilder::new(text);
    let _ = written.key(builder.as_unquoted().unwrap_or_else(|| builder.as_basic()));
    written
}

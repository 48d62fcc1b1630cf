//! Hands the arguments to [`keybearer::cli`], and its outcome to the system.

use std::process::ExitCode;

/// Measured against glibc's and mimalloc: the fewest instructions, and little memory kept.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    keybearer::cli::main()
}

//! `keybearer exchange`: what keybearer starts by itself for one exchange, so that it outlives a kill.

use std::fs::File;
use std::io;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::process::ExitCode;

use crate::auth::courier::errand::{Refused, run};

pub(super) fn exchange() -> anyhow::Result<ExitCode> {
    let (input, output) = (io::stdin().lock(), io::stdout());
    // Nobody is to be waited for who would have to type it.
    if input.is_terminal() {
        return Err(Refused::ByHand.into());
    }
    let spool = output.as_fd().try_clone_to_owned()?;
    run(input, File::from(spool), io::stderr())?;
    Ok(ExitCode::SUCCESS)
}

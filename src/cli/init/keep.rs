//! The file: written beside its place, loaded as `run` would, and only then put there.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::draft::Draft;
use crate::config::diagnostic::Diagnostic;
use crate::shell::word;

/// Refuses a place where nothing could be written.
///
/// # Errors
/// Something is there, or its folder is not.
pub(super) fn ready(path: &Path, force: bool) -> Result<()> {
    let shown = path.display();
    if path.is_dir() {
        bail!("`{shown}` is a folder; name a file in it with --output");
    }
    if !force && path.symlink_metadata().is_ok() {
        bail!("`{shown}` is there already; --output names another file, --force replaces it");
    }
    let folder = folder(path);
    if !folder.is_dir() {
        let folder = folder.display();
        let word = word(&folder);
        bail!("there is no folder `{folder}`; make it first (`mkdir -p {word}`)");
    }
    Ok(())
}

/// Writes a draft; gives what is left to do for its secret.
///
/// # Errors
/// The loader finds a mistake, or the file cannot be written: nothing was.
pub(super) fn keep(draft: &Draft, path: &Path, force: bool) -> Result<Vec<Diagnostic>> {
    let cannot = || format!("`{}` cannot be written", path.display());
    // Its name has a dot before it: a folder of configurations does not take it for one.
    let mut file = tempfile::Builder::new()
        .prefix(".keybearer-init-")
        .suffix(".new")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(folder(path))
        .with_context(cannot)?;
    file.write_all(draft.text().as_bytes())
        .with_context(cannot)?;
    let (faults, pending) = draft.faults_of_file(file.path());
    if !faults.is_empty() {
        bail!(
            "nothing was written, as it would not load:\n{}",
            tell(&faults)
        );
    }
    file.as_file().sync_all().with_context(cannot)?;
    let kept = match force {
        true => file.persist(path),
        // However many do this at the same time, one of them is the first.
        false => file.persist_noclobber(path),
    };
    kept.map_err(|kept| kept.error).with_context(cannot)?;
    Ok(pending)
}

/// What is wrong, without its place in a file that nobody will see.
fn tell(faults: &[Diagnostic]) -> String {
    let mut lines = Vec::new();
    for fault in faults {
        let key = fault.key().map_or(String::new(), |key| format!("{key}: "));
        lines.push(format!("  {key}{}", fault.message()));
        lines.extend(fault.hint().map(|hint| format!("  hint: {hint}")));
    }
    lines.join("\n")
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

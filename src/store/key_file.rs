//! Where the key of a store comes from: the configuration, or a file beside it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use zeroize::Zeroizing;

use super::OpenError;
use super::folder::{Folder, Forbidden};
use super::seal::Seal;
use crate::secret::Secret;

const KEY_FILE: &str = "store.key";

/// A key's base64 is 44 bytes long.
const LONGEST: usize = 256;

/// The key of the configuration.
pub(super) fn given(key: &Secret) -> Result<Seal, OpenError> {
    let place = format!("`store.key` ({})", key.origin());
    Seal::parse(key.expose(), &place).ok_or(OpenError::KeyInvalid {
        place,
        remedy: "make one with `openssl rand -base64 32`",
    })
}

/// The key in the folder; made if there is none, unless there is the file of a store that was sealed
/// with another.
pub(super) fn read_or_make(folder: &Folder, store: Option<&str>) -> Result<Seal, OpenError> {
    let path = folder.path(KEY_FILE);
    if !folder.has(KEY_FILE)? {
        if let Some(store) = store {
            return Err(OpenError::KeyMissing {
                store: folder.path(store),
                key: path,
            });
        }
        folder.create(KEY_FILE, fill)?;
    }
    let place = format!("`{}`", path.display());
    let seal = Seal::parse(&read(&path)?, &place);
    seal.ok_or(OpenError::KeyInvalid {
        place,
        remedy: match store {
            Some(_) => "put the right key file back",
            None => "put the right key file back, or remove it: another is made",
        },
    })
}

fn fill(mut file: File, draft: &Path) -> Result<(), OpenError> {
    let text = Seal::generate().map_err(OpenError::no_random(draft))?;
    let written = [text.as_bytes(), b"\n"]
        .into_iter()
        .try_for_each(|part| file.write_all(part));
    written.map_err(OpenError::failed("write", draft))
}

/// The content of a key file that nobody else can read; what is no text is no key.
fn read(path: &Path) -> Result<Zeroizing<String>, OpenError> {
    let metadata = fs::metadata(path).map_err(OpenError::failed("read", path))?;
    // Opening a pipe would wait for somebody at its other end.
    if !metadata.is_file() {
        return Ok(Zeroizing::default());
    }
    Forbidden::ReadAndWrite.check(path, &metadata)?;
    let mut bytes = Zeroizing::new([0; LONGEST]);
    let length = File::open(path).and_then(|mut file| file.read(bytes.as_mut_slice()));
    let length = length.map_err(OpenError::failed("read", path))?;
    let text = bytes
        .get(..length)
        .and_then(|bytes| std::str::from_utf8(bytes).ok());
    Ok(Zeroizing::new(text.unwrap_or_default().to_owned()))
}

//! The queue's file: how it is made, and what is said of one that cannot be opened.

use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn refusal(vault: &Vault) -> String {
    let opened = Queue::open(vault.clone());
    opened.map(drop).unwrap_err().to_string()
}

#[tokio::test]
async fn a_file_that_is_no_queue_is_told_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault(&folder);
    std::fs::write(vault.path(FILE), "something else").unwrap();
    let error = refusal(&vault);
    assert!(
        error.contains(FILE) && error.contains("move it away"),
        "{error}"
    );
    assert_eq!(
        std::fs::read_to_string(vault.path(FILE)).unwrap(),
        "something else"
    );
}

#[tokio::test]
async fn a_start_that_was_cut_short_is_made_good() {
    let whole = {
        let folder = tempfile::tempdir().unwrap();
        drop(Queue::open(vault(&folder)).unwrap());
        fs::read(vault(&folder).path(FILE)).unwrap()
    };
    let draft = format!("{FILE}.new");
    for (what, name, content) in [
        ("a draft without content", &*draft, &[][..]),
        ("half a draft", &draft, &whole[..whole.len() / 2]),
        ("a whole draft", &draft, &whole),
        ("a file without content", FILE, &[]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let vault = vault(&folder);
        fs::write(vault.path(name), content).unwrap();
        fs::set_permissions(vault.path(name), fs::Permissions::from_mode(0o600)).unwrap();
        let queue = Queue::open(vault.clone()).expect(what);
        queue.accept(arrival("hook", "1")).await.expect(what);
        assert!(!vault.path(&draft).exists(), "{what}");
    }
    // Before its tables were made.
    let folder = tempfile::tempdir().unwrap();
    let vault = vault(&folder);
    drop(Database::create(vault.path(FILE)).unwrap());
    fs::set_permissions(vault.path(FILE), fs::Permissions::from_mode(0o600)).unwrap();
    let queue = Queue::open(vault).unwrap();
    queue.accept(arrival("hook", "1")).await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn whenever_a_first_start_is_cut_short_no_half_of_the_file_is_there() {
    use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
    let folder = tempfile::tempdir().unwrap();
    let vault = vault(&folder);
    let watch = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
    let wanted = WatchFlags::CREATE | WatchFlags::MOVED_TO;
    add_watch(&watch, vault.path(FILE).parent().unwrap(), wanted).unwrap();
    let queue = Queue::open(vault).unwrap();
    let mut seen = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = Reader::new(watch, &mut buffer);
    while let Ok(event) = events.next() {
        let name = event.file_name().unwrap().to_str().unwrap().to_owned();
        seen.push((name, event.events()));
    }
    // It comes to its name whole, in one step.
    let draft = format!("{FILE}.new");
    let steps = [
        (draft, ReadFlags::CREATE),
        (FILE.to_owned(), ReadFlags::MOVED_TO),
    ];
    assert_eq!(seen, steps);
    drop(queue);
}

#[tokio::test]
async fn what_is_no_damage_is_not_called_so() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault(&folder);
    drop(Queue::open(vault.clone()).unwrap());
    let path = vault.path(FILE);
    let told = |what: &str, text: &str| {
        let error = refusal(&vault);
        assert!(
            error.contains(text) && error.contains(FILE),
            "{what}: {error}"
        );
        assert!(!error.contains("damaged"), "{what}: {error}");
        assert!(!error.contains("move it away"), "{what}: {error}");
    };
    let other = fs::File::open(&path).unwrap();
    other.lock().unwrap();
    told("somebody else has it", "is still open");
    drop(other);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).unwrap();
    told("others may write to it", "can be changed by other users");
    if !rustix::process::geteuid().is_root() {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        told("we may not", "Permission denied");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let away = folder.path().join("away");
    fs::rename(&path, &away).unwrap();
    fs::create_dir(&path).unwrap();
    told("a folder is there", "cannot open");
    fs::remove_dir(&path).unwrap();
    symlink(folder.path().join("nowhere"), &path).unwrap();
    told("a link leads nowhere", "cannot open");
    fs::remove_file(&path).unwrap();
    fs::rename(&away, &path).unwrap();
    drop(Queue::open(vault).unwrap());
}
